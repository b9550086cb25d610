#include "model_header.h"

#include <optional>
#include <span>

#include "base/file.h"

namespace octet::tools {
namespace {

// Field numbers of ModelProto and OperatorSetIdProto.
constexpr uint64_t kIrVersion = 1, kProducerName = 2, kProducerVersion = 3, kOpsetImport = 8;
constexpr uint64_t kDomain = 1, kVersion = 2;

struct Field {
  uint64_t number = 0, value = 0;
  std::span<const std::byte> content;
};

// The fields of one protobuf message, until its end or something malformed.
class Fields {
 public:
  explicit Fields(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::optional<Field> next() {
    const auto tag = varint();
    if (!tag) return {};
    Field field{*tag >> 3, 0, {}};
    switch (*tag & 7) {
      case 0: {
        const auto value = varint();
        if (!value) return {};
        field.value = *value;
        return field;
      }
      case 1:
        return take(field, 8);
      case 2: {
        const auto size = varint();
        return size ? take(field, *size) : std::nullopt;
      }
      case 5:
        return take(field, 4);
      default:
        return {};
    }
  }

 private:
  std::optional<Field> take(Field field, uint64_t size) {
    if (size > bytes_.size()) return {};
    field.content = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return field;
  }

  std::optional<uint64_t> varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && !bytes_.empty(); shift += 7) {
      const auto byte = static_cast<uint64_t>(bytes_[0]);
      bytes_ = bytes_.subspan(1);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return {};
  }

  std::span<const std::byte> bytes_;
};

std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void add_opset(std::span<const std::byte> bytes, ModelHeader& header) {
  std::string domain;
  uint64_t version = 0;
  Fields fields(bytes);
  while (const auto field = fields.next()) {
    if (field->number == kDomain) domain = text(field->content);
    if (field->number == kVersion) version = field->value;
  }
  header.opsets[domain == "ai.onnx" ? "" : domain] = static_cast<int64_t>(version);
}

}  // namespace

ModelHeader read_model_header(const std::filesystem::path& path) {
  const MappedFile file(path);
  ModelHeader header;
  std::string version;
  Fields fields(file.bytes());
  while (const auto field = fields.next()) {
    if (field->number == kIrVersion) header.ir_version = static_cast<int64_t>(field->value);
    if (field->number == kProducerName) header.producer = text(field->content);
    if (field->number == kProducerVersion) version = text(field->content);
    if (field->number == kOpsetImport) add_opset(field->content, header);
  }
  if (!header.producer.empty() && !version.empty()) header.producer += " " + version;
  return header;
}

}  // namespace octet::tools
