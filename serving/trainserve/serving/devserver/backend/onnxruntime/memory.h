// Copies between the CPU's memory and a GPU's.
#pragma once

#include <cstring>

#include "failure.h"

// Of the CUDA runtime, which the server itself is linked with; there is no need of it where no tensor lies on a GPU.
extern "C" int cudaMemcpy(void* to, const void* from, size_t bytes, int kind) __attribute__((weak));

inline void copy(void* to, const void* from, size_t bytes, bool on_gpu) {
  constexpr int whichever_way = 4;  // cudaMemcpyDefault
  if (bytes == 0) return;
  if (!on_gpu)
    std::memcpy(to, from, bytes);
  else if (cudaMemcpy == nullptr || cudaMemcpy(to, from, bytes, whichever_way) != 0)
    throw Failure("the CUDA runtime did not copy a tensor");
}
