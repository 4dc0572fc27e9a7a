// A graph loaded by onnxruntime, and its tensors.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "failure.h"
#include "onnxruntime.h"

namespace ort {

inline const OrtApi& api() {
  static const OrtApi* const found = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (found == nullptr) throw Failure("onnxruntime is older than 1.15");
  return *found;
}

inline const char* code_name(int code) {
  static constexpr const char* names[] = {
      "OK",
      "FAIL",
      "INVALID_ARGUMENT",
      "NO_SUCHFILE",
      "NO_MODEL",
      "ENGINE_ERROR",
      "RUNTIME_EXCEPTION",
      "INVALID_PROTOBUF",
      "MODEL_LOADED",
      "NOT_IMPLEMENTED",
      "INVALID_GRAPH",
      "EP_FAIL"};
  return code >= 0 && code < static_cast<int>(std::size(names)) ? names[code] : "error";
}

inline void check(OrtStatus* status) {
  if (status == nullptr) return;
  const std::string message = api().GetErrorMessage(status);
  const Failure failure(std::string("onnxruntime: ") + code_name(api().GetErrorCode(status)) + ": " + message);
  api().ReleaseStatus(status);
  throw failure;
}

struct Release {
  void operator()(OrtEnv* it) const { api().ReleaseEnv(it); }
  void operator()(OrtSession* it) const { api().ReleaseSession(it); }
  void operator()(OrtSessionOptions* it) const { api().ReleaseSessionOptions(it); }
  void operator()(OrtMemoryInfo* it) const { api().ReleaseMemoryInfo(it); }
  void operator()(OrtValue* it) const { api().ReleaseValue(it); }
  void operator()(OrtTypeInfo* it) const { api().ReleaseTypeInfo(it); }
  void operator()(OrtTensorTypeAndShapeInfo* it) const { api().ReleaseTensorTypeAndShapeInfo(it); }
  void operator()(OrtIoBinding* it) const { api().ReleaseIoBinding(it); }
  void operator()(OrtCUDAProviderOptionsV2* it) const { api().ReleaseCUDAProviderOptions(it); }
};
template <class Thing>
using Owned = std::unique_ptr<Thing, Release>;

// What one of the API's functions makes: its last parameter.
template <class Thing, class... Parameters, class... Arguments>
Owned<Thing> made(OrtStatus* (*make)(Parameters...), Arguments... arguments) {
  Thing* thing = nullptr;
  check(make(arguments..., &thing));
  return Owned<Thing>(thing);
}

inline OrtAllocator* allocator() {
  OrtAllocator* found = nullptr;
  check(api().GetAllocatorWithDefaultOptions(&found));
  return found;
}

struct Shaped {
  ONNXTensorElementDataType type;
  std::vector<int64_t> shape;  // -1 in a graph's: any size
};

inline Shaped shaped(const OrtTensorTypeAndShapeInfo* info) {
  Shaped found{};
  size_t dims = 0;
  check(api().GetTensorElementType(info, &found.type));
  check(api().GetDimensionsCount(info, &dims));
  found.shape.resize(dims);
  check(api().GetDimensions(info, found.shape.data(), dims));
  return found;
}

struct Tensor : Shaped {
  std::string name;
};

struct Options {
  int threads = 1;  // within an operator
  int between = 1;  // for operators side by side
  std::optional<int> gpu;
};

class Session {
 public:
  Session(const OrtEnv* env, const std::string& path, const Options& given) {
    const auto options = made<OrtSessionOptions>(api().CreateSessionOptions);
    check(api().SetIntraOpNumThreads(options.get(), given.threads));
    check(api().SetInterOpNumThreads(options.get(), given.between));
    if (given.gpu) append_cuda(options.get(), *given.gpu);
    session_ = made<OrtSession>(api().CreateSession, env, path.c_str(), options.get());
    const OrtApi& a = api();
    inputs = tensors(a.SessionGetInputCount, a.SessionGetInputName, a.SessionGetInputTypeInfo);
    outputs = tensors(a.SessionGetOutputCount, a.SessionGetOutputName, a.SessionGetOutputTypeInfo);
    for (const Tensor& each : inputs) input_names_.push_back(each.name.c_str());
    for (const Tensor& each : outputs) output_names_.push_back(each.name.c_str());
  }

  // All outputs for `given`, one value for each input; they lie in the CPU's memory.
  std::vector<Owned<OrtValue>> run(const std::vector<Owned<OrtValue>>& given) const {
    std::vector<const OrtValue*> values;
    for (const auto& each : given) values.push_back(each.get());
    std::vector<OrtValue*> results(outputs.size());
    check(
        api().Run(
            session_.get(), nullptr, input_names_.data(), values.data(), values.size(), output_names_.data(),
            results.size(), results.data()));
    return {results.begin(), results.end()};
  }

  // The same, but the outputs stay in the memory of a device.
  std::vector<Owned<OrtValue>> run_on(const OrtMemoryInfo* device, const std::vector<Owned<OrtValue>>& given) const {
    const auto binding = made<OrtIoBinding>(api().CreateIoBinding, session_.get());
    for (size_t index = 0; index < given.size(); ++index)
      check(api().BindInput(binding.get(), input_names_[index], given[index].get()));
    for (const char* name : output_names_) check(api().BindOutputToDevice(binding.get(), name, device));
    check(api().RunWithBinding(session_.get(), nullptr, binding.get()));
    check(api().SynchronizeBoundOutputs(binding.get()));  // the server reads them from a stream of its own
    OrtValue** values = nullptr;
    size_t count = 0;
    check(api().GetBoundOutputValues(binding.get(), allocator(), &values, &count));
    std::vector<Owned<OrtValue>> results(values, values + count);
    check(api().AllocatorFree(allocator(), values));
    return results;
  }

  std::vector<Tensor> inputs, outputs;

 private:
  static void append_cuda(OrtSessionOptions* options, int gpu) {
    const auto cuda = made<OrtCUDAProviderOptionsV2>(api().CreateCUDAProviderOptions);
    const std::string number = std::to_string(gpu);
    const char *key = "device_id", *value = number.c_str();
    check(api().UpdateCUDAProviderOptions(cuda.get(), &key, &value, 1));
    check(api().SessionOptionsAppendExecutionProvider_CUDA_V2(options, cuda.get()));
  }

  template <class Count, class Name, class Type>
  std::vector<Tensor> tensors(Count count_of, Name name_of, Type type_of) const {
    size_t count = 0;
    check(count_of(session_.get(), &count));
    std::vector<Tensor> found;
    for (size_t index = 0; index < count; ++index) {
      char* text = nullptr;
      check(name_of(session_.get(), index, allocator(), &text));
      const std::string name = text;
      check(api().AllocatorFree(allocator(), text));
      const auto type = made<OrtTypeInfo>(type_of, session_.get(), index);
      const OrtTensorTypeAndShapeInfo* info = nullptr;  // the type's own
      check(api().CastTypeInfoToTensorInfo(type.get(), &info));
      if (info == nullptr) throw Failure(name + " is no tensor");
      found.push_back({shaped(info), name});
    }
    return found;
  }

  Owned<OrtSession> session_;
  std::vector<const char*> input_names_, output_names_;
};

}  // namespace ort
