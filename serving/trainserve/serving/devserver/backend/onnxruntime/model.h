// What a model's configuration says, and what its graph adds to it.
#pragma once

#include <algorithm>
#include <string>

#include "json.h"
#include "session.h"
#include "triton.h"
#include "types.h"

constexpr int64_t MOST_THREADS = 1024;

struct Model {
  std::string path;
  ort::Options options;
  bool batched;  // the first dimension of every tensor counts the images of a batch
};

inline std::string configuration(TRITONBACKEND_Model* model) {
  TRITONSERVER_Message* message = nullptr;
  const char* text = nullptr;
  size_t bytes = 0;
  check(TRITONBACKEND_ModelConfig(model, 1, &message));
  check(TRITONSERVER_MessageSerializeToJson(message, &text, &bytes));
  std::string copy(text, bytes);
  check(TRITONSERVER_MessageDelete(message));
  return copy;
}

// `<model>/<version>/model.onnx`, or `default_model_filename`.
inline std::string graph_path(TRITONBACKEND_Model* model, const std::string& config) {
  TRITONBACKEND_ArtifactType kind;
  const char* folder = nullptr;
  uint64_t version = 0;
  check(TRITONBACKEND_ModelRepository(model, &kind, &folder));
  check(TRITONBACKEND_ModelVersion(model, &version));
  const std::string name = json::string(json::member(config, "default_model_filename"));
  return std::string(folder) + "/" + std::to_string(version) + "/" + (name.empty() ? "model.onnx" : name);
}

inline Model model_of(TRITONBACKEND_Model* model, const std::string& config) {
  const json::Text parameters = json::member(config, "parameters");
  const auto threads = [&](json::Text name) {
    const json::Text parameter = json::member(parameters, name);
    if (parameter.empty()) return 1;
    const json::Text value = json::member(parameter, "string_value");
    const int64_t count = json::number(value, -1);
    if (count < 0 || count > MOST_THREADS)
      throw Failure(
          "parameter " + std::string(name) + ": " + std::string(value) +
          " is not allowed; must be 0, for as many as onnxruntime likes, to " + std::to_string(MOST_THREADS));
    return static_cast<int>(count);
  };
  return {
      graph_path(model, config),
      {threads("intra_op_thread_count"), threads("inter_op_thread_count"), std::nullopt},
      json::number(json::member(config, "max_batch_size"), 0) > 0};
}

inline std::string tensors_json(const std::vector<ort::Tensor>& tensors, bool batched) {
  std::string out;
  for (const ort::Tensor& each : tensors) {
    std::string dims;
    for (size_t index = batched ? 1 : 0; index < each.shape.size(); ++index)
      dims += (dims.empty() ? "" : ",") + std::to_string(each.shape[index]);
    const bool none = dims.empty();  // the server takes no tensor without dimensions
    out += std::string(out.empty() ? "" : ",") + "{\"name\":" + json::quoted(each.name) + ",\"data_type\":\"" +
           element_type(each.type).configured + "\",\"dims\":[" + (none ? "1" : dims) + "]" +
           (none && batched ? ",\"reshape\":{\"shape\":[]}" : "") + "}";
  }
  return "[" + out + "]";
}

// Fills what a configuration leaves out, from the graph that `load` gives; returns whether anything was.
template <class Load>
bool complete(std::string& config, const Load& load) {
  const bool inputs = json::member(config, "input").size() > 2, outputs = json::member(config, "output").size() > 2;
  if (inputs && outputs) return false;
  const ort::Session graph = load();
  const auto open = [](const ort::Tensor& each) { return !each.shape.empty() && each.shape[0] < 0; };
  bool batched = std::all_of(graph.inputs.begin(), graph.inputs.end(), open) &&
                 std::all_of(graph.outputs.begin(), graph.outputs.end(), open);
  if (batched && json::number(json::member(config, "max_batch_size"), 0) == 0) {
    json::set(config, "max_batch_size", "4");  // the default of the official onnxruntime backend
    if (json::member(config, "dynamic_batching").empty()) json::set(config, "dynamic_batching", "{}");
  }
  batched = batched && json::number(json::member(config, "max_batch_size"), 0) > 0;
  if (!inputs) json::set(config, "input", tensors_json(graph.inputs, batched));
  if (!outputs) json::set(config, "output", tensors_json(graph.outputs, batched));
  return true;
}
