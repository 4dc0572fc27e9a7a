// The types of tensors as onnxruntime and Triton number and name them.
#pragma once

#include <cstddef>
#include <string>

#include "failure.h"
#include "onnxruntime.h"

struct ElementType {
  ONNXTensorElementDataType graph;
  TRITONSERVER_DataType server;
  const char* configured;  // its name in a model's configuration
  size_t bytes;            // 0 of text, whose elements have a length each
};

inline constexpr ElementType ELEMENT_TYPES[] = {
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, TRITONSERVER_TYPE_BOOL, "TYPE_BOOL", 1},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, TRITONSERVER_TYPE_UINT8, "TYPE_UINT8", 1},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16, TRITONSERVER_TYPE_UINT16, "TYPE_UINT16", 2},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32, TRITONSERVER_TYPE_UINT32, "TYPE_UINT32", 4},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64, TRITONSERVER_TYPE_UINT64, "TYPE_UINT64", 8},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, TRITONSERVER_TYPE_INT8, "TYPE_INT8", 1},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16, TRITONSERVER_TYPE_INT16, "TYPE_INT16", 2},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, TRITONSERVER_TYPE_INT32, "TYPE_INT32", 4},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, TRITONSERVER_TYPE_INT64, "TYPE_INT64", 8},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, TRITONSERVER_TYPE_FP16, "TYPE_FP16", 2},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, TRITONSERVER_TYPE_FP32, "TYPE_FP32", 4},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, TRITONSERVER_TYPE_FP64, "TYPE_FP64", 8},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16, TRITONSERVER_TYPE_BF16, "TYPE_BF16", 2},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, TRITONSERVER_TYPE_BYTES, "TYPE_STRING", 0},
};

inline const char* configured(TRITONSERVER_DataType server) {
  for (const ElementType& each : ELEMENT_TYPES)
    if (each.server == server) return each.configured;
  return "another type";
}

inline const ElementType& element_type(ONNXTensorElementDataType graph) {
  for (const ElementType& each : ELEMENT_TYPES)
    if (each.graph == graph) return each;
  throw Failure("Triton has no tensors of onnxruntime's type " + std::to_string(graph));
}
