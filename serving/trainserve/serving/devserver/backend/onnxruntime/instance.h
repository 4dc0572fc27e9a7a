// One instance of a model: it answers the requests of a batch with one run of the graph.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "memory.h"
#include "model.h"
#include "session.h"
#include "texts.h"
#include "triton.h"
#include "types.h"

using Requests = std::span<TRITONBACKEND_Request*>;

struct DeleteResponse {
  void operator()(TRITONBACKEND_Response* it) const {
    if (TRITONSERVER_Error* error = TRITONBACKEND_ResponseDelete(it)) TRITONSERVER_ErrorDelete(error);
  }
};
using Response = std::unique_ptr<TRITONBACKEND_Response, DeleteResponse>;

class Instance {
 public:
  Instance(TRITONBACKEND_ModelInstance* instance, const OrtEnv* env, const Model& model)
      : instance_(instance), batched_(model.batched), session_(env, model.path, model.options) {
    if (batched_) expect_batches();
    cpu_ = ort::made<OrtMemoryInfo>(ort::api().CreateCpuMemoryInfo, OrtArenaAllocator, OrtMemTypeDefault);
    if (model.options.gpu)
      gpu_ = ort::made<OrtMemoryInfo>(
          ort::api().CreateMemoryInfo, "Cuda", OrtDeviceAllocator, *model.options.gpu, OrtMemTypeDefault);
    scratch_.resize(session_.inputs.size());
  }

  // Answers and releases every request. If the requests cannot be answered together, each is answered alone, so that
  // the error of one is not the error of its neighbours.
  void execute(Requests requests) {
    Times times{now(), 0, 0};
    std::string why;
    try {
      if (!batched_ && requests.size() > 1) throw Failure("the model takes one request at a time");
      Batch batch = gathered(requests);
      times.computing = now();
      const auto results = batch.on_gpu ? session_.run_on(gpu_.get(), batch.inputs) : session_.run(batch.inputs);
      times.computed = now();
      auto responses = answers(requests, batch, results);
      for (Response& each : responses) send(each.release(), nullptr);
      done(requests, batch.size, times);
      return;
    } catch (const std::exception& error) {
      why = error.what();
    }
    if (requests.size() > 1)
      for (TRITONBACKEND_Request*& each : requests) execute({&each, 1});
    else
      refuse(requests[0], why, times);
  }

 private:
  struct Times {
    uint64_t begun, computing, computed;
  };
  struct Batch {
    std::vector<ort::Owned<OrtValue>> inputs;
    std::vector<int64_t> rows;  // of each request
    int64_t size = 0;           // of all of them
    bool on_gpu = false;        // an input lies there, and the outputs are to stay there
  };
  struct Piece {
    const char* data;
    size_t bytes;
    bool on_gpu;
  };

  // As the official backend does (onnxruntime_backend, src/onnxruntime_utils.cc, CompareDimsSupported): else every
  // request of several rows would fail.
  void expect_batches() const {
    for (const auto* tensors : {&session_.inputs, &session_.outputs})
      for (const ort::Tensor& each : *tensors) {
        if (!each.shape.empty() && each.shape[0] == -1) continue;
        std::string shape;
        for (const int64_t size : each.shape) shape += (shape.empty() ? "" : ",") + std::to_string(size);
        throw Failure(
            "tensor '" + each.name + "': max_batch_size > 0 needs a first dimension of -1, and the graph's shape is [" +
            shape + "]");
      }
  }

  static uint64_t now() { return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()); }

  Batch gathered(Requests requests) {
    Batch batch;
    for (size_t index = 0; index < session_.inputs.size(); ++index)
      batch.inputs.push_back(gather(requests, index, batch));
    for (const int64_t rows : batch.rows) batch.size += rows;
    return batch;
  }

  // One input of all requests, one below the other.
  ort::Owned<OrtValue> gather(Requests requests, size_t index, Batch& batch) {
    const ort::Tensor& tensor = session_.inputs[index];
    const ElementType& type = element_type(tensor.type);
    std::vector<Piece> pieces;
    std::vector<int64_t> shape;
    size_t bytes = 0;
    batch.rows.clear();
    for (TRITONBACKEND_Request* request : requests) {
      std::vector<int64_t> given = add_pieces(request, tensor, type, pieces);
      // The server knows no tensor without axes: of a single number it is told one axis of 1.
      if (tensor.shape.empty() && given == std::vector<int64_t>{1}) given.clear();
      batch.rows.push_back(batched_ && !given.empty() ? given[0] : 1);
      if (batch.rows.size() == 1)
        shape = given;
      else if (given.empty() || !std::equal(shape.begin() + 1, shape.end(), given.begin() + 1, given.end()))
        throw Failure("input " + tensor.name + ": the requests of a batch differ in shape");
      else
        shape[0] += given[0];
    }
    bool on_gpu = false;
    for (const Piece& each : pieces) {
      bytes += each.bytes;
      on_gpu |= each.on_gpu;
    }
    if (on_gpu && requests.size() > 1) throw Failure("requests with tensors on a GPU are run each alone");
    if (on_gpu && gpu_ && pieces.size() == 1) {
      batch.on_gpu = true;
      return over(gpu_.get(), pieces[0].data, bytes, shape, tensor.type);
    }
    const char* data = joined(pieces, bytes, std::max<size_t>(type.bytes, 1), scratch_[index]);
    return type.bytes == 0 ? texts_from({data, bytes}, shape) : over(cpu_.get(), data, bytes, shape, tensor.type);
  }

  static std::vector<int64_t> add_pieces(
      TRITONBACKEND_Request* request, const ort::Tensor& tensor, const ElementType& type, std::vector<Piece>& pieces) {
    TRITONBACKEND_Input* input = nullptr;
    TRITONSERVER_DataType given;
    const char* name = nullptr;
    const int64_t* shape = nullptr;
    uint32_t dims = 0, buffers = 0;
    uint64_t bytes = 0;
    check(TRITONBACKEND_RequestInput(request, tensor.name.c_str(), &input));
    check(TRITONBACKEND_InputProperties(input, &name, &given, &shape, &dims, &bytes, &buffers));
    if (given != type.server)
      throw Failure(
          "input " + tensor.name + ": the graph takes " + type.configured + ", and was given " + configured(given));
    for (uint32_t index = 0; index < buffers; ++index) {
      const void* data = nullptr;
      uint64_t size = 0;
      TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
      int64_t id = 0;
      check(TRITONBACKEND_InputBuffer(input, index, &data, &size, &memory, &id));
      pieces.push_back({static_cast<const char*>(data), size, memory == TRITONSERVER_MEMORY_GPU});
    }
    return {shape, shape + dims};
  }

  // All pieces in one place: where a single one lies, if its elements are aligned there, or in `scratch`.
  static const char* joined(
      const std::vector<Piece>& pieces, size_t bytes, size_t alignment, std::vector<char>& scratch) {
    if (pieces.size() == 1 && !pieces[0].on_gpu && reinterpret_cast<uintptr_t>(pieces[0].data) % alignment == 0)
      return pieces[0].data;
    if (scratch.size() < bytes) scratch.resize(bytes);
    char* to = scratch.data();
    for (const Piece& each : pieces) {
      copy(to, each.data, each.bytes, each.on_gpu);
      to += each.bytes;
    }
    return scratch.data();
  }

  static ort::Owned<OrtValue> over(
      const OrtMemoryInfo* memory, const char* data, size_t bytes, const std::vector<int64_t>& shape,
      ONNXTensorElementDataType type) {
    return ort::made<OrtValue>(
        ort::api().CreateTensorWithDataAsOrtValue, memory, static_cast<void*>(const_cast<char*>(data)), bytes,
        shape.data(), shape.size(), type);
  }

  std::vector<Response> answers(
      Requests requests, const Batch& batch, const std::vector<ort::Owned<OrtValue>>& results) const {
    std::vector<Response> responses;
    for (TRITONBACKEND_Request* request : requests) {
      TRITONBACKEND_Response* response = nullptr;
      check(TRITONBACKEND_ResponseNew(&response, request));
      responses.emplace_back(response);
    }
    for (size_t index = 0; index < results.size(); ++index)
      add_output(requests, responses, batch, session_.outputs[index], results[index].get());
    return responses;
  }

  // Cuts one output into the rows of each request.
  void add_output(
      Requests requests, const std::vector<Response>& responses, const Batch& batch, const ort::Tensor& tensor,
      OrtValue* value) const {
    const ort::Shaped is =
        ort::shaped(ort::made<OrtTensorTypeAndShapeInfo>(ort::api().GetTensorTypeAndShape, value).get());
    const ElementType& type = element_type(is.type);
    const auto count =
        static_cast<size_t>(std::accumulate(is.shape.begin(), is.shape.end(), int64_t{1}, std::multiplies<>()));
    const bool cut = requests.size() > 1;
    if (cut && (is.shape.empty() || is.shape[0] != batch.size))
      throw Failure("output " + tensor.name + " has not one row for each of " + std::to_string(batch.size));
    Texts texts;
    void* data = nullptr;
    if (type.bytes == 0) {
      texts = texts_of(value, count);
      data = texts.bytes.data();
    } else {
      ort::check(ort::api().GetTensorMutableData(value, &data));
    }
    const auto start = [&](size_t element) { return type.bytes ? element * type.bytes : texts.starts[element]; };
    std::vector<int64_t> shape = is.shape;
    const size_t elements_per_row = cut && batch.size ? count / static_cast<size_t>(batch.size) : count;
    size_t element = 0;
    for (size_t index = 0; index < requests.size(); ++index) {
      if (cut) shape[0] = batch.rows[index];
      const size_t end = element + elements_per_row * (cut ? static_cast<size_t>(batch.rows[index]) : 1);
      if (wants(requests[index], tensor.name)) {
        const char* from = static_cast<const char*>(data) + start(element);
        add(responses[index].get(), tensor.name, type, shape, from, start(end) - start(element), batch.on_gpu);
      }
      element = end;
    }
  }

  bool wants(TRITONBACKEND_Request* request, const std::string& output) const {
    if (session_.outputs.size() == 1) return true;
    uint32_t count = 0;
    check(TRITONBACKEND_RequestOutputCount(request, &count));
    for (uint32_t index = 0; index < count; ++index) {
      const char* name = nullptr;
      check(TRITONBACKEND_RequestOutputName(request, index, &name));
      if (output == name) return true;
    }
    return false;
  }

  static void add(
      TRITONBACKEND_Response* response, const std::string& name, const ElementType& type,
      const std::vector<int64_t>& shape, const char* from, size_t bytes, bool on_gpu) {
    TRITONBACKEND_Output* output = nullptr;
    void* to = nullptr;
    TRITONSERVER_MemoryType memory = on_gpu ? TRITONSERVER_MEMORY_GPU : TRITONSERVER_MEMORY_CPU;
    int64_t id = 0;
    check(TRITONBACKEND_ResponseOutput(
        response, &output, name.c_str(), type.server, shape.data(), static_cast<uint32_t>(shape.size())));
    check(TRITONBACKEND_OutputBuffer(output, &to, bytes, &memory, &id));
    copy(to, from, bytes, on_gpu || memory == TRITONSERVER_MEMORY_GPU);
  }

  void done(Requests requests, int64_t size, const Times& times) {
    const uint64_t end = now();
    for (TRITONBACKEND_Request* each : requests) {
      told(TRITONBACKEND_ModelInstanceReportStatistics(
          instance_, each, true, times.begun, times.computing, times.computed, end));
      told(TRITONBACKEND_RequestRelease(each, TRITONSERVER_REQUEST_RELEASE_ALL));
    }
    told(TRITONBACKEND_ModelInstanceReportBatchStatistics(
        instance_, static_cast<uint64_t>(size), times.begun, times.computing, times.computed, end));
  }

  void refuse(TRITONBACKEND_Request* request, const std::string& why, const Times& times) {
    TRITONBACKEND_Response* response = nullptr;
    told(TRITONBACKEND_ResponseNew(&response, request));
    if (response != nullptr) send(response, TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, why.c_str()));
    const uint64_t end = now();
    told(TRITONBACKEND_ModelInstanceReportStatistics(instance_, request, false, times.begun, end, end, end));
    told(TRITONBACKEND_RequestRelease(request, TRITONSERVER_REQUEST_RELEASE_ALL));
  }

  // The server takes the response and copies the error.
  static void send(TRITONBACKEND_Response* response, TRITONSERVER_Error* error) {
    told(TRITONBACKEND_ResponseSend(response, TRITONSERVER_RESPONSE_COMPLETE_FINAL, error));
    if (error != nullptr) TRITONSERVER_ErrorDelete(error);
  }

  // An answer that is on its way cannot be called back for an error that comes after it.
  static void told(TRITONSERVER_Error* error) {
    if (error != nullptr) TRITONSERVER_ErrorDelete(error);
  }

  TRITONBACKEND_ModelInstance* instance_;
  bool batched_;
  ort::Session session_;
  ort::Owned<OrtMemoryInfo> cpu_, gpu_;
  std::vector<std::vector<char>> scratch_;  // for each input, as large as the largest batch so far
};
