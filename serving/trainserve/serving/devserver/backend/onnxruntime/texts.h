// Tensors of text: Triton puts each element's length before it (4 bytes, little-endian), onnxruntime holds strings.
#pragma once

#include <cstring>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "session.h"

inline ort::Owned<OrtValue> texts_from(std::string_view bytes, const std::vector<int64_t>& shape) {
  auto value = ort::made<OrtValue>(
      ort::api().CreateTensorAsOrtValue, ort::allocator(), shape.data(), shape.size(),
      ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING);
  const auto count = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  for (int64_t index = 0; index < count; ++index) {
    uint32_t length = 0;
    if (bytes.size() >= sizeof length) std::memcpy(&length, bytes.data(), sizeof length);
    if (bytes.size() < sizeof length || bytes.size() - sizeof length < length)
      throw Failure("text " + std::to_string(index) + " ends beyond its tensor");
    bytes.remove_prefix(sizeof length);
    char* room = nullptr;
    ort::check(ort::api().GetResizedStringTensorElementBuffer(value.get(), index, length, &room));
    std::memcpy(room, bytes.data(), length);
    bytes.remove_prefix(length);
  }
  return value;
}

// The elements as Triton wants them, and where each begins; the last entry is the end.
struct Texts {
  std::string bytes;
  std::vector<size_t> starts;
};

inline Texts texts_of(const OrtValue* value, size_t count) {
  size_t length = 0;
  ort::check(ort::api().GetStringTensorDataLength(value, &length));
  std::string all(length, '\0');
  std::vector<size_t> offsets(count);
  ort::check(ort::api().GetStringTensorContent(value, all.data(), length, offsets.data(), count));
  offsets.push_back(length);
  Texts texts;
  for (size_t index = 0; index < count; ++index) {
    const auto size = static_cast<uint32_t>(offsets[index + 1] - offsets[index]);
    texts.starts.push_back(texts.bytes.size());
    texts.bytes.append(reinterpret_cast<const char*>(&size), sizeof size);
    texts.bytes.append(all, offsets[index], size);
  }
  texts.starts.push_back(texts.bytes.size());
  return texts;
}
