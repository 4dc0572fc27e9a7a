// The `onnxruntime` backend of the development server, whose wheel has the python backend only.
//
// It serves the repositories of the official onnxruntime backend unchanged: `<model>/<version>/model.onnx` (or
// `default_model_filename`), the parameters `intra_op_thread_count` and `inter_op_thread_count`, and configurations
// that leave inputs and outputs to the graph (https://github.com/triton-inference-server/onnxruntime_backend). As
// there, onnxruntime runs in the server's own process. devserver/runtime.py compiles this file when it installs the
// server; where the time of a request goes is told by bench/serving.py.
//
// Tensors that lie on a GPU are read and left there. That was never run on a GPU: none was at hand.

#include "failure.h"
#include "instance.h"
#include "model.h"
#include "session.h"
#include "triton.h"

namespace {

ort::Owned<OrtEnv> environment;  // one for all models, as long as the server has the backend loaded

Model* state_of(TRITONBACKEND_Model* model) {
  void* found = nullptr;
  check(TRITONBACKEND_ModelState(model, &found));
  return static_cast<Model*>(found);
}

Instance* state_of(TRITONBACKEND_ModelInstance* instance) {
  void* found = nullptr;
  check(TRITONBACKEND_ModelInstanceState(instance, &found));
  return static_cast<Instance*>(found);
}

}  // namespace

// What Triton looks up; the rest stays hidden from the other libraries of the process.
#pragma GCC visibility push(default)
extern "C" {

TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend*) {
  return guarded([] {
    uint32_t major = 0, minor = 0;
    check(TRITONBACKEND_ApiVersion(&major, &minor));
    if (major != 1) throw Failure("Triton's backend API has version " + std::to_string(major) + "; this one needs 1");
    environment = ort::made<OrtEnv>(ort::api().CreateEnv, ORT_LOGGING_LEVEL_WARNING, "trainserve");
  });
}

TRITONSERVER_Error* TRITONBACKEND_Finalize(TRITONBACKEND_Backend*) {
  return guarded([] { environment.reset(); });
}

TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* model) {
  return guarded([&] {
    std::string config = configuration(model);
    bool wanted = false;
    check(TRITONBACKEND_ModelAutoCompleteConfig(model, &wanted));
    if (wanted && complete(config, [&] { return ort::Session(environment.get(), graph_path(model, config), {}); })) {
      TRITONSERVER_Message* message = nullptr;
      check(TRITONSERVER_MessageNewFromSerializedJson(&message, config.data(), config.size()));
      TRITONSERVER_Error* error = TRITONBACKEND_ModelSetConfig(model, 1, message);
      check(TRITONSERVER_MessageDelete(message));
      check(error);
    }
    auto read = std::make_unique<Model>(model_of(model, config));
    check(TRITONBACKEND_ModelSetState(model, read.get()));
    read.release();  // until TRITONBACKEND_ModelFinalize
  });
}

TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* model) {
  return guarded([&] { delete state_of(model); });
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance* instance) {
  return guarded([&] {
    TRITONBACKEND_Model* of = nullptr;
    TRITONSERVER_InstanceGroupKind kind;
    check(TRITONBACKEND_ModelInstanceModel(instance, &of));
    check(TRITONBACKEND_ModelInstanceKind(instance, &kind));
    Model model = *state_of(of);
    if (kind == TRITONSERVER_INSTANCEGROUPKIND_GPU) {
      int32_t device = 0;
      check(TRITONBACKEND_ModelInstanceDeviceId(instance, &device));
      model.options.gpu = device;
    }
    auto made = std::make_unique<Instance>(instance, environment.get(), model);
    check(TRITONBACKEND_ModelInstanceSetState(instance, made.get()));
    made.release();  // until TRITONBACKEND_ModelInstanceFinalize
  });
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance* instance) {
  return guarded([&] { delete state_of(instance); });
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(
    TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Request** requests, const uint32_t count) {
  return guarded([&] { state_of(instance)->execute({requests, count}); });
}

}  // extern "C"
