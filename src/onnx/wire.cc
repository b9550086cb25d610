#include "onnx/wire.h"

#include <cstdint>

namespace octet {
namespace {

// Field numbers of ModelProto.graph, GraphProto.initializer and TensorProto.raw_data.
constexpr uint32_t kGraph = 7, kInitializer = 5, kRawData = 9;
constexpr uint32_t kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5;

struct Field {
  uint32_t number = 0, type = 0;
  std::span<const std::byte> whole;    // with its tag
  std::span<const std::byte> content;  // of a length-delimited one
};

// Walks the fields of one message.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  bool done() const { return at_ == bytes_.size(); }

  std::optional<Field> next() {
    const size_t begin = at_;
    const auto tag = varint();
    if (!tag || *tag > UINT32_MAX) return std::nullopt;
    Field field;
    field.number = static_cast<uint32_t>(*tag >> 3);
    field.type = static_cast<uint32_t>(*tag & 7);
    if (field.number == 0) return std::nullopt;
    std::optional<uint64_t> skip = 0;
    if (field.type == kVarint) {
      if (!varint()) return std::nullopt;
    } else if (field.type == kLengthDelimited) {
      skip = varint();
    } else if (field.type == kFixed64) {
      skip = 8;
    } else if (field.type == kFixed32) {
      skip = 4;
    } else {
      return std::nullopt;  // groups, which ONNX has not got
    }
    if (!skip || *skip > bytes_.size() - at_) return std::nullopt;
    field.content = bytes_.subspan(at_, *skip);
    at_ += *skip;
    field.whole = bytes_.subspan(begin, at_ - begin);
    return field;
  }

 private:
  std::optional<uint64_t> varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == bytes_.size()) return std::nullopt;
      const auto byte = static_cast<uint8_t>(bytes_[at_++]);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }

  std::span<const std::byte> bytes_;
  size_t at_ = 0;
};

void append(std::string& out, std::span<const std::byte> bytes) {
  out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>((value & 0x7f) | 0x80));
  out.push_back(static_cast<char>(value));
}

void append_message(std::string& out, uint32_t number, const std::string& content) {
  append_varint(out, (uint64_t{number} << 3) | kLengthDelimited);
  append_varint(out, content.size());
  out += content;
}

// The tensor without its raw_data, which goes to `payload`; false when it is malformed.
bool lift_tensor(std::span<const std::byte> bytes, std::string& rest, std::span<const std::byte>& payload) {
  for (Reader reader(bytes); !reader.done();) {
    const auto field = reader.next();
    if (!field) return false;
    if (field->number == kRawData && field->type == kLengthDelimited)
      payload = field->content;  // of several the last one counts
    else
      append(rest, field->whole);
  }
  return true;
}

bool lift_graph(std::span<const std::byte> bytes, size_t threshold, LiftedModel& model, size_t& initializers,
                std::string& rest) {
  for (Reader reader(bytes); !reader.done();) {
    const auto field = reader.next();
    if (!field) return false;
    if (field->number != kInitializer || field->type != kLengthDelimited) {
      append(rest, field->whole);
      continue;
    }
    const size_t index = initializers++;
    std::string tensor;
    std::span<const std::byte> payload;
    if (field->content.size() >= threshold) {
      if (!lift_tensor(field->content, tensor, payload)) return false;
    }
    if (payload.size() < threshold) {
      append(rest, field->whole);
      continue;
    }
    model.payloads.emplace(index, payload);
    append_message(rest, kInitializer, tensor);
  }
  return true;
}

}  // namespace

std::optional<LiftedModel> lift_payloads(std::span<const std::byte> bytes, size_t threshold) {
  LiftedModel model;
  size_t initializers = 0;
  for (Reader reader(bytes); !reader.done();) {
    const auto field = reader.next();
    if (!field) return std::nullopt;
    if (field->number != kGraph || field->type != kLengthDelimited) {
      append(model.message, field->whole);
      continue;
    }
    std::string graph;
    if (!lift_graph(field->content, threshold, model, initializers, graph)) return std::nullopt;
    append_message(model.message, kGraph, graph);
  }
  return model;
}

}  // namespace octet
