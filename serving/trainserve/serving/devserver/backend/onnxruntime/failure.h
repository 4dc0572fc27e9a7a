// Errors of Triton's and of onnxruntime's C API as one exception.
#pragma once

#include <stdexcept>
#include <string>

#include "triton.h"

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void check(TRITONSERVER_Error* error) {
  if (error == nullptr) return;
  const Failure failure(TRITONSERVER_ErrorMessage(error));
  TRITONSERVER_ErrorDelete(error);
  throw failure;
}

// What an entry point that Triton calls returns: no exception may pass through it.
template <class Work>
TRITONSERVER_Error* guarded(const Work& work) {
  try {
    work();
    return nullptr;
  } catch (const std::exception& error) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, error.what());
  }
}
