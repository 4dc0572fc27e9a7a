// Looks into JSON that Triton wrote (a model's configuration) and leaves its text as it is. Nothing is checked here.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace json {

using Text = std::string_view;

// Where the string ends that begins at `at`: behind its closing quote.
inline size_t string_end(Text text, size_t at) {
  for (++at; at < text.size() && text[at] != '"'; ++at)
    if (text[at] == '\\') ++at;
  return at + 1;
}

// Where the value ends that begins at `at`.
inline size_t value_end(Text text, size_t at) {
  int depth = 0;
  while (at < text.size()) {
    const char each = text[at];
    if (depth == 0 && (each == ',' || each == '}' || each == ']')) break;
    if (each == '"') {
      at = string_end(text, at);
      continue;
    }
    if (each == '{' || each == '[') ++depth;
    if (each == '}' || each == ']') --depth;
    ++at;
  }
  return at;
}

// The value of an object's member, a part of `object`; empty if there is none.
inline Text member(Text object, Text name) {
  size_t at = 1;
  while (at < object.size() && object[at] == '"') {
    const size_t end = string_end(object, at), begin = end + 1;  // a colon lies between
    const Text key = object.substr(at + 1, end - at - 2);
    at = value_end(object, begin);
    if (key == name) return object.substr(begin, at - begin);
    ++at;
  }
  return {};
}

// Of a number, or of a string that is one; `otherwise` of anything else.
inline int64_t number(Text value, int64_t otherwise) {
  std::string digits(value);
  if (digits.size() > 2 && digits.front() == '"') digits = digits.substr(1, digits.size() - 2);
  char* end = nullptr;
  const int64_t found = std::strtoll(digits.c_str(), &end, 10);
  return digits.empty() || *end != '\0' ? otherwise : found;
}

inline void append_utf8(std::string& out, unsigned long code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
    return;
  }
  if (code < 0x800) {
    out += static_cast<char>(0xC0 | (code >> 6));
  } else {
    out += static_cast<char>(0xE0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
  }
  out += static_cast<char>(0x80 | (code & 0x3F));
}

// What a string says; Triton escapes no character beyond the first 65,536.
inline std::string string(Text value) {
  static constexpr Text names = "bfnrt", meant = "\b\f\n\r\t";
  std::string out;
  for (size_t at = 1; at + 1 < value.size(); ++at) {
    if (value[at] != '\\') {
      out += value[at];
      continue;
    }
    const char kind = value[++at];
    if (kind == 'u') {
      append_utf8(out, std::strtoul(std::string(value.substr(at + 1, 4)).c_str(), nullptr, 16));
      at += 4;
    } else {
      const size_t index = names.find(kind);
      out += index == Text::npos ? kind : meant[index];
    }
  }
  return out;
}

// The other way round.
inline std::string quoted(Text text) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char each : text) {
    const auto byte = static_cast<unsigned char>(each);
    if (byte < 0x20) {
      out += "\\u00";
      out += digits[byte >> 4];
      out += digits[byte & 15];
      continue;
    }
    if (each == '"' || each == '\\') out += '\\';
    out += each;
  }
  return out + '"';
}

// Puts `value` in the place of an object's member, or adds it.
inline void set(std::string& object, Text name, Text value) {
  const Text old = member(object, name);
  if (!old.empty()) {
    object.replace(static_cast<size_t>(old.data() - object.data()), old.size(), value);
    return;
  }
  const Text comma = object == "{}" ? "" : ",";
  object.insert(object.size() - 1, std::string(comma) + quoted(name) + ":" + std::string(value));
}

}  // namespace json
