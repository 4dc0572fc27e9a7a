// What is used of onnxruntime's C API. Its wheel has the library without the header, so the table of functions is
// declared here as onnxruntime_c_api.h does (github.com/microsoft/onnxruntime). Functions are only ever added at the
// table's end, so where one stands is part of the ABI; what is not used is left as a gap.
#pragma once

#include <cstddef>
#include <cstdint>

struct OrtStatus;
struct OrtEnv;
struct OrtSession;
struct OrtSessionOptions;
struct OrtRunOptions;
struct OrtMemoryInfo;
struct OrtValue;
struct OrtTypeInfo;
struct OrtTensorTypeAndShapeInfo;
struct OrtAllocator;
struct OrtIoBinding;
struct OrtCUDAProviderOptionsV2;

enum OrtLoggingLevel { ORT_LOGGING_LEVEL_WARNING = 2 };
enum OrtAllocatorType { OrtDeviceAllocator = 0, OrtArenaAllocator = 1 };
enum OrtMemType { OrtMemTypeDefault = 0 };
enum ONNXTensorElementDataType {
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX64,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX128,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16
};

struct OrtApi {
  using Gap = void (*)();
  Gap gap_0;
  int (*GetErrorCode)(const OrtStatus*);
  const char* (*GetErrorMessage)(const OrtStatus*);
  OrtStatus* (*CreateEnv)(OrtLoggingLevel, const char* name, OrtEnv**);
  Gap gap_4[3];
  OrtStatus* (*CreateSession)(const OrtEnv*, const char* path, const OrtSessionOptions*, OrtSession**);
  Gap gap_8;
  OrtStatus* (*Run)(
      OrtSession*, const OrtRunOptions*, const char* const* input_names, const OrtValue* const* inputs, size_t,
      const char* const* output_names, size_t, OrtValue** outputs);
  OrtStatus* (*CreateSessionOptions)(OrtSessionOptions**);
  Gap gap_11[13];
  OrtStatus* (*SetIntraOpNumThreads)(OrtSessionOptions*, int);
  OrtStatus* (*SetInterOpNumThreads)(OrtSessionOptions*, int);
  Gap gap_26[4];
  OrtStatus* (*SessionGetInputCount)(const OrtSession*, size_t*);
  OrtStatus* (*SessionGetOutputCount)(const OrtSession*, size_t*);
  Gap gap_32;
  OrtStatus* (*SessionGetInputTypeInfo)(const OrtSession*, size_t index, OrtTypeInfo**);
  OrtStatus* (*SessionGetOutputTypeInfo)(const OrtSession*, size_t index, OrtTypeInfo**);
  Gap gap_35;
  OrtStatus* (*SessionGetInputName)(const OrtSession*, size_t index, OrtAllocator*, char**);
  OrtStatus* (*SessionGetOutputName)(const OrtSession*, size_t index, OrtAllocator*, char**);
  Gap gap_38[10];
  OrtStatus* (*CreateTensorAsOrtValue)(
      OrtAllocator*, const int64_t* shape, size_t dims, ONNXTensorElementDataType, OrtValue**);
  OrtStatus* (*CreateTensorWithDataAsOrtValue)(
      const OrtMemoryInfo*, void* data, size_t bytes, const int64_t* shape, size_t dims, ONNXTensorElementDataType,
      OrtValue**);
  Gap gap_50;
  OrtStatus* (*GetTensorMutableData)(OrtValue*, void**);
  Gap gap_52;
  OrtStatus* (*GetStringTensorDataLength)(const OrtValue*, size_t* bytes);
  OrtStatus* (*GetStringTensorContent)(const OrtValue*, void* text, size_t bytes, size_t* offsets, size_t count);
  OrtStatus* (*CastTypeInfoToTensorInfo)(const OrtTypeInfo*, const OrtTensorTypeAndShapeInfo**);
  Gap gap_56[4];
  OrtStatus* (*GetTensorElementType)(const OrtTensorTypeAndShapeInfo*, ONNXTensorElementDataType*);
  OrtStatus* (*GetDimensionsCount)(const OrtTensorTypeAndShapeInfo*, size_t*);
  OrtStatus* (*GetDimensions)(const OrtTensorTypeAndShapeInfo*, int64_t* shape, size_t dims);
  Gap gap_63[2];
  OrtStatus* (*GetTensorTypeAndShape)(const OrtValue*, OrtTensorTypeAndShapeInfo**);
  Gap gap_66[2];
  OrtStatus* (*CreateMemoryInfo)(const char* device, OrtAllocatorType, int device_id, OrtMemType, OrtMemoryInfo**);
  OrtStatus* (*CreateCpuMemoryInfo)(OrtAllocatorType, OrtMemType, OrtMemoryInfo**);
  Gap gap_70[6];
  OrtStatus* (*AllocatorFree)(OrtAllocator*, void*);
  Gap gap_77;
  OrtStatus* (*GetAllocatorWithDefaultOptions)(OrtAllocator**);
  Gap gap_79[13];
  void (*ReleaseEnv)(OrtEnv*);
  void (*ReleaseStatus)(OrtStatus*);
  void (*ReleaseMemoryInfo)(OrtMemoryInfo*);
  void (*ReleaseSession)(OrtSession*);
  void (*ReleaseValue)(OrtValue*);
  Gap gap_97;
  void (*ReleaseTypeInfo)(OrtTypeInfo*);
  void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo*);
  void (*ReleaseSessionOptions)(OrtSessionOptions*);
  Gap gap_101[32];
  OrtStatus* (*RunWithBinding)(OrtSession*, const OrtRunOptions*, const OrtIoBinding*);
  OrtStatus* (*CreateIoBinding)(OrtSession*, OrtIoBinding**);
  void (*ReleaseIoBinding)(OrtIoBinding*);
  OrtStatus* (*BindInput)(OrtIoBinding*, const char* name, const OrtValue*);
  Gap gap_137;
  OrtStatus* (*BindOutputToDevice)(OrtIoBinding*, const char* name, const OrtMemoryInfo*);
  Gap gap_139;
  OrtStatus* (*GetBoundOutputValues)(const OrtIoBinding*, OrtAllocator*, OrtValue*** values, size_t*);
  Gap gap_141[62];
  OrtStatus* (*SynchronizeBoundOutputs)(OrtIoBinding*);
  OrtStatus* (*SessionOptionsAppendExecutionProvider_CUDA_V2)(OrtSessionOptions*, const OrtCUDAProviderOptionsV2*);
  OrtStatus* (*CreateCUDAProviderOptions)(OrtCUDAProviderOptionsV2**);
  OrtStatus* (*UpdateCUDAProviderOptions)(
      OrtCUDAProviderOptionsV2*, const char* const* keys, const char* const* values, size_t);
  Gap gap_207;
  void (*ReleaseCUDAProviderOptions)(OrtCUDAProviderOptionsV2*);
  Gap gap_209[43];
  OrtStatus* (*GetResizedStringTensorElementBuffer)(OrtValue*, size_t index, size_t bytes, char** buffer);
};

constexpr size_t slot(size_t offset) { return offset / sizeof(OrtApi::Gap); }
static_assert(slot(offsetof(OrtApi, Run)) == 9);
static_assert(slot(offsetof(OrtApi, GetTensorTypeAndShape)) == 65);
static_assert(slot(offsetof(OrtApi, ReleaseEnv)) == 92);
static_assert(slot(offsetof(OrtApi, RunWithBinding)) == 133);
static_assert(slot(offsetof(OrtApi, SynchronizeBoundOutputs)) == 203);
static_assert(slot(offsetof(OrtApi, GetResizedStringTensorElementBuffer)) == 252);

constexpr uint32_t ORT_API_VERSION = 15;  // the first that has all of these

struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

extern "C" const OrtApiBase* OrtGetApiBase();
