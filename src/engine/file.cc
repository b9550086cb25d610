// An engine file: a fixed prefix, the FlatBuffers header (engine.fbs), padding, the data section with the
// constants. Little-endian.
//
//   bytes 0..7    "OCTETENG"
//   bytes 8..11   format version
//   bytes 12..15  zero
//   bytes 16..23  size of the whole file
//   bytes 24..31  size of the header
//   bytes 32..39  XXH3-64 of everything behind byte 40, seeded with the XXH3-64 of bytes 0..31
//   byte 40...    header, zeros up to a multiple of 64, constants (placed as ConstantPlace says)
#include "base/file.h"

#include <xxhash.h>

#include <cstring>
#include <functional>

#include "base/checked.h"
#include "base/pages.h"
#include "engine/engine.h"
#include "engine/engine_generated.h"

namespace octet::engine {
namespace {

constexpr char kMagic[] = "OCTETENG";
constexpr uint32_t kFormat = 1;
constexpr int64_t kPrefix = 40;
constexpr int64_t kHashed = 32;  // bytes of the prefix that seed the checksum
constexpr int64_t kAlignment = 64;

// Bytes that kernels read in vectors are aligned to them, and followed by as many as a vector may read past
// their end.
struct ConstantPlace {
  int64_t alignment, slack;
};
ConstantPlace place_of(DType dtype) {
  return dtype_bits(dtype) <= 8 ? ConstantPlace{64, 64} : ConstantPlace{8, 0};
}

uint64_t checksum(std::span<const std::byte> prefix, std::span<const std::byte> rest) {
  return XXH3_64bits_withSeed(rest.data(), rest.size(), XXH3_64bits(prefix.data(), kHashed));
}

// --- writing

class DimPool {
 public:
  explicit DimPool(const std::vector<Symbol>& symbols) : symbols_(symbols) {}

  uint32_t add(const Dim& dim) {
    const std::string key = dim.text();
    if (const auto found = index_.find(key); found != index_.end()) return found->second;
    int64_t a = 0;
    int32_t b = 0;
    Dim::Op op = Dim::Op::kConstant;
    if (dim.known()) {
      a = dim.value();
    } else if (dim.op() == Dim::Op::kSymbol) {
      op = dim.op();
      a = symbol(dim.name());
    } else {
      op = dim.op();
      a = add(dim.left());
      b = static_cast<int32_t>(add(dim.right()));
    }
    nodes_.emplace_back(static_cast<uint8_t>(op), a, b);
    return index_[key] = static_cast<uint32_t>(nodes_.size() - 1);
  }

  const std::vector<fb::DimNode>& nodes() const { return nodes_; }

 private:
  int64_t symbol(const std::string& name) const {
    for (size_t i = 0; i < symbols_.size(); ++i)
      if (symbols_[i].name == name) return static_cast<int64_t>(i);
    fail(ErrorCode::kInternal, "dimension '{}' is not declared", name);
  }

  const std::vector<Symbol>& symbols_;
  std::vector<fb::DimNode> nodes_;
  std::map<std::string, uint32_t> index_;
};

flatbuffers::Offset<fb::Attribute> write_attribute(flatbuffers::FlatBufferBuilder& b, const std::string& name,
                                                   const Attribute& value) {
  const auto key = b.CreateSharedString(name);
  flatbuffers::Offset<flatbuffers::String> text;
  flatbuffers::Offset<flatbuffers::Vector<int64_t>> integers;
  flatbuffers::Offset<flatbuffers::Vector<float>> numbers;
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>> texts;
  if (const auto* s = std::get_if<std::string>(&value)) text = b.CreateString(*s);
  if (const auto* v = std::get_if<std::vector<int64_t>>(&value)) integers = b.CreateVector(*v);
  if (const auto* v = std::get_if<std::vector<float>>(&value)) numbers = b.CreateVector(*v);
  if (const auto* v = std::get_if<std::vector<std::string>>(&value)) texts = b.CreateVectorOfStrings(*v);
  if (std::holds_alternative<octet::Tensor>(value))
    fail(ErrorCode::kInternal, "attribute '{}' is a tensor, which an engine does not hold", name);
  const auto* integer = std::get_if<int64_t>(&value);
  const auto* number = std::get_if<float>(&value);
  return fb::CreateAttribute(b, key, static_cast<uint8_t>(value.index()), integer ? *integer : 0,
                             number ? *number : 0, text, integers, numbers, texts);
}

struct Header {
  flatbuffers::FlatBufferBuilder builder;
  std::vector<std::pair<int64_t, const octet::Tensor*>> constants;  // offset in the data section
  int64_t data_bytes = 0;
};

void write_header(const Model& model, Header& header) {
  auto& b = header.builder;
  DimPool dims(model.symbols);
  std::vector<flatbuffers::Offset<fb::Tensor>> tensors;
  for (const TensorDef& t : model.tensors) {
    std::vector<uint32_t> shape;
    for (const Dim& d : t.shape) shape.push_back(dims.add(d));
    flatbuffers::Offset<fb::Quant> quant;
    if (!t.quant.scale.empty())
      quant = fb::CreateQuantDirect(b, t.quant.axis, &t.quant.scale, &t.quant.zero_point);
    int64_t offset = 0;
    uint8_t stored = 0;
    if (t.storage == Storage::kConstant && t.constant.dtype() != t.dtype)
      stored = static_cast<uint8_t>(1 + static_cast<int>(t.constant.dtype()));
    if (t.storage == Storage::kConstant) {
      const ConstantPlace place = place_of(t.constant.dtype());
      offset = round_up(header.data_bytes, place.alignment);
      header.constants.emplace_back(offset, &t.constant);
      header.data_bytes = checked_add(offset, t.constant.bytes() + place.slack);
    }
    // Names of constants are for people who read the graph, not for the file.
    const std::string name = t.storage == Storage::kConstant ? "" : t.name;
    const auto shared_name = b.CreateSharedString(name);
    const auto dims_of = b.CreateVector(shape);
    tensors.push_back(fb::CreateTensor(b, shared_name, static_cast<uint8_t>(t.dtype),
                                       static_cast<uint8_t>(t.layout), static_cast<uint8_t>(t.storage),
                                       dims_of, quant, static_cast<uint64_t>(offset), t.parent,
                                       t.channel_offset, stored, t.plane_stride));
  }
  std::vector<flatbuffers::Offset<fb::Step>> steps;
  for (const StepDef& s : model.steps) {
    std::vector<flatbuffers::Offset<fb::Attribute>> attributes;
    for (const auto& [name, value] : s.attributes) attributes.push_back(write_attribute(b, name, value));
    std::vector<flatbuffers::Offset<flatbuffers::String>> node_names;
    for (const std::string& n : s.nodes) node_names.push_back(b.CreateSharedString(n));
    const auto nodes = b.CreateVector(node_names);
    const auto kind = b.CreateSharedString(s.kind), precision = b.CreateSharedString(s.precision),
               reason = b.CreateSharedString(s.reason);
    const auto name = b.CreateSharedString(s.name);
    const auto inputs = b.CreateVector(s.inputs), outputs = b.CreateVector(s.outputs);
    const auto list = b.CreateVector(attributes);
    steps.push_back(
        fb::CreateStep(b, kind, s.version, name, inputs, outputs, list, precision, reason, nodes));
  }
  std::vector<flatbuffers::Offset<fb::Symbol>> symbols;
  for (const Symbol& s : model.symbols)
    symbols.push_back(fb::CreateSymbolDirect(b, s.name.c_str(), s.minimum, s.optimum, s.maximum, s.at_run));
  std::vector<flatbuffers::Offset<fb::Profile>> profiles;
  for (const Profile& p : model.profiles) {
    std::vector<int64_t> ranges;
    for (const SizeRange& r : p) ranges.insert(ranges.end(), {r.minimum, r.optimum, r.maximum});
    profiles.push_back(fb::CreateProfileDirect(b, &ranges));
  }
  std::vector<flatbuffers::Offset<fb::Equality>> equalities;
  for (const Equality& e : model.equalities)
    equalities.push_back(fb::CreateEqualityDirect(b, dims.add(e.a), dims.add(e.b), e.node.c_str()));
  std::vector<flatbuffers::Offset<fb::Entry>> metadata;
  for (const auto& [key, value] : model.metadata)
    metadata.push_back(fb::CreateEntryDirect(b, key.c_str(), value.c_str()));
  fb::FinishHeaderBuffer(
      b, fb::CreateHeaderDirect(b, model.producer.c_str(), &symbols, &dims.nodes(), &tensors, &steps,
                                &model.inputs, &model.outputs, &metadata,
                                static_cast<uint64_t>(header.data_bytes),
                                equalities.empty() ? nullptr : &equalities,
                                profiles.empty() ? nullptr : &profiles, model.deterministic));
}

// The data section, piece by piece: constants, and zeros between them.
template <typename F>
void for_each_part(const Header& header, const F& body) {
  const std::vector<std::byte> zeros(kAlignment * 2);
  int64_t at = 0;
  const auto fill_to = [&](int64_t end) {
    for (; at < end; at += std::min<int64_t>(end - at, static_cast<int64_t>(zeros.size())))
      body(std::span(zeros).first(std::min<size_t>(end - at, zeros.size())));
  };
  for (const auto& [offset, tensor] : header.constants) {
    fill_to(offset);
    if (tensor->bytes() == 0) continue;
    body(std::span(static_cast<const std::byte*>(tensor->raw()), static_cast<size_t>(tensor->bytes())));
    at += tensor->bytes();
  }
  fill_to(header.data_bytes);
}

template <typename T>
void put(std::vector<std::byte>& out, size_t at, T value) {
  std::memcpy(out.data() + at, &value, sizeof value);
}

// --- reading

[[noreturn]] void damaged(const std::string& name, std::string_view what) {
  fail(ErrorCode::kBadFile, "'{}' is damaged: {}. Build the engine again", name, what);
}

// Copied as bytes: the verifier does not check that the elements of a vector are aligned.
template <typename T>
std::vector<T> list(const flatbuffers::Vector<T>* v) {
  std::vector<T> out(v != nullptr ? v->size() : 0);
  if (!out.empty()) std::memcpy(out.data(), v->Data(), out.size() * sizeof(T));
  return out;
}

std::string text(const flatbuffers::String* s) {
  return s ? s->str() : std::string();
}

std::vector<std::string> texts(const flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>* v) {
  std::vector<std::string> out;
  for (size_t i = 0; v && i < v->size(); ++i) out.push_back(v->Get(i)->str());
  return out;
}

class Reader {
 public:
  Reader(const fb::Header& header, std::span<const std::byte> data, std::shared_ptr<const void> owner,
         std::string name)
      : header_(header), data_(data), owner_(std::move(owner)), name_(std::move(name)) {}

  Model read() {
    Model m;
    m.producer = text(header_.producer());
    for (size_t i = 0; header_.symbols() && i < header_.symbols()->size(); ++i) {
      const auto* s = header_.symbols()->Get(i);
      m.symbols.push_back({s->name()->str(), s->minimum(), s->optimum(), s->maximum(), s->at_run()});
    }
    read_dims(m.symbols);
    m.deterministic = header_.deterministic();
    for (size_t i = 0; header_.profiles() && i < header_.profiles()->size(); ++i) {
      const std::vector<int64_t> ranges = list(header_.profiles()->Get(i)->ranges());
      if (ranges.size() != 3 * m.symbols.size()) damaged(name_, "a profile has the wrong size");
      Profile profile;
      for (size_t r = 0; r < ranges.size(); r += 3)
        profile.push_back({ranges[r], ranges[r + 1], ranges[r + 2]});
      m.profiles.push_back(std::move(profile));
    }
    for (size_t i = 0; header_.equalities() && i < header_.equalities()->size(); ++i) {
      const auto* e = header_.equalities()->Get(i);
      m.equalities.push_back({dim_at(e->a()), dim_at(e->b()), text(e->node())});
    }
    for (size_t i = 0; header_.tensors() && i < header_.tensors()->size(); ++i)
      m.tensors.push_back(read_tensor(*header_.tensors()->Get(i)));
    for (size_t i = 0; header_.steps() && i < header_.steps()->size(); ++i)
      m.steps.push_back(read_step(*header_.steps()->Get(i)));
    m.inputs = list(header_.inputs());
    m.outputs = list(header_.outputs());
    for (size_t i = 0; header_.metadata() && i < header_.metadata()->size(); ++i)
      m.metadata[header_.metadata()->Get(i)->key()->str()] = text(header_.metadata()->Get(i)->value());
    return m;
  }

 private:
  void read_dims(const std::vector<Symbol>& symbols) {
    for (size_t i = 0; header_.dims() && i < header_.dims()->size(); ++i) {
      fb::DimNode copy;  // aligned, as list() makes numbers
      std::memcpy(&copy, header_.dims()->Data() + i * sizeof copy, sizeof copy);
      const fb::DimNode* node = &copy;
      const auto op = static_cast<Dim::Op>(node->op());
      if (node->op() > static_cast<uint8_t>(Dim::Op::kMax)) damaged(name_, "a dimension has an unknown form");
      if (op == Dim::Op::kConstant) {
        dims_.emplace_back(node->a());
      } else if (op == Dim::Op::kSymbol) {
        if (node->a() < 0 || node->a() >= static_cast<int64_t>(symbols.size()))
          damaged(name_, "a dimension refers to a name that is missing");
        dims_.push_back(Dim::symbol(symbols[node->a()].name));
      } else {
        const auto n = static_cast<int64_t>(i);
        if (node->a() < 0 || node->a() >= n || node->b() < 0 || node->b() >= n)
          damaged(name_, "a dimension refers to one behind it");
        dims_.push_back(Dim::combine(op, dims_[node->a()], dims_[node->b()]));
      }
    }
  }

  const Dim& dim_at(uint32_t index) const {
    if (index >= dims_.size()) damaged(name_, "a size refers to a dimension that is missing");
    return dims_[index];
  }

  TensorDef read_tensor(const fb::Tensor& t) const {
    TensorDef def;
    def.name = text(t.name());
    if (t.dtype() >= kDTypeCount || t.layout() > 1 || t.storage() > static_cast<uint8_t>(Storage::kConstant))
      damaged(name_, "tensor '" + def.name + "' has an unknown type");
    def.dtype = static_cast<DType>(t.dtype());
    def.layout = static_cast<Layout>(t.layout());
    def.storage = static_cast<Storage>(t.storage());
    for (uint32_t d : list(t.shape())) {
      if (d >= dims_.size())
        damaged(name_, "tensor '" + def.name + "' refers to a dimension that is missing");
      def.shape.push_back(dims_[d]);
    }
    if (t.quant())
      def.quant = {def.dtype, t.quant()->axis(), list(t.quant()->scale()), list(t.quant()->zero_point())};
    def.parent = t.parent();
    def.channel_offset = t.channel_offset();
    def.plane_stride = t.plane_stride();
    if (def.storage == Storage::kConstant) {
      if (t.stored() > kDTypeCount) damaged(name_, "a constant is stored as an unknown type");
      const DType stored = t.stored() == 0 ? def.dtype : static_cast<DType>(t.stored() - 1);
      def.constant = read_constant(def, stored, t.offset());
    }
    return def;
  }

  octet::Tensor read_constant(const TensorDef& def, DType dtype, uint64_t offset) const {
    const Shape shape = evaluate(def.shape);
    const int64_t bytes = dtype_bytes(dtype, checked_product(shape));
    const ConstantPlace place = place_of(dtype);
    if (offset % place.alignment != 0 || offset > data_.size() ||
        checked_add(bytes, place.slack) > static_cast<int64_t>(data_.size() - offset))
      damaged(name_, "a constant lies outside of the file");
    return octet::Tensor::view(dtype, shape, static_cast<const void*>(data_.data() + offset), owner_);
  }

  StepDef read_step(const fb::Step& s) const {
    StepDef def;
    def.kind = s.kind()->str();
    def.version = s.version();
    def.name = text(s.name());
    def.inputs = list(s.inputs());
    def.outputs = list(s.outputs());
    def.precision = text(s.precision());
    def.reason = text(s.reason());
    def.nodes = texts(s.nodes());
    for (size_t i = 0; s.attributes() && i < s.attributes()->size(); ++i) {
      const fb::Attribute* a = s.attributes()->Get(i);
      def.attributes.set(a->name()->str(), read_attribute(*a));
    }
    return def;
  }

  Attribute read_attribute(const fb::Attribute& a) const {
    switch (a.kind()) {
      case 0:
        return a.integer();
      case 1:
        return a.number();
      case 2:
        return text(a.text());
      case 3:
        return list(a.integers());
      case 4:
        return list(a.numbers());
      case 5:
        return texts(a.texts());
      default:
        damaged(name_, "an attribute has an unknown type");
    }
  }

  const fb::Header& header_;
  std::span<const std::byte> data_;
  std::shared_ptr<const void> owner_;
  std::string name_;
  Dims dims_;
};

template <typename T>
T get(std::span<const std::byte> bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

// The file, piece by piece.
void write_file(const Model& model, const std::function<void(std::span<const std::byte>)>& sink) {
  Header header;
  write_header(model, header);
  const auto header_size = static_cast<int64_t>(header.builder.GetSize());
  const int64_t data_start = round_up(kPrefix + header_size, kAlignment);
  const int64_t total = checked_add(data_start, header.data_bytes);
  std::vector<std::byte> front(data_start);
  std::memcpy(front.data(), kMagic, 8);
  put(front, 8, kFormat);
  put(front, 16, static_cast<uint64_t>(total));
  put(front, 24, static_cast<uint64_t>(header_size));
  std::memcpy(front.data() + kPrefix, header.builder.GetBufferPointer(), header_size);
  const std::span<const std::byte> bytes(front);
  // Constants are written from where they lie: twice, since the checksum stands before them.
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(),
                                                                              XXH3_freeState);
  if (!state) throw std::bad_alloc();
  XXH3_64bits_reset_withSeed(state.get(), XXH3_64bits(bytes.data(), kHashed));
  const auto hash = [&](std::span<const std::byte> part) {
    XXH3_64bits_update(state.get(), part.data(), part.size());
  };
  hash(bytes.subspan(kPrefix));
  for_each_part(header, hash);
  put(front, 32, static_cast<uint64_t>(XXH3_64bits_digest(state.get())));
  sink(bytes);
  for_each_part(header, sink);
}

}  // namespace

void save(const Model& model, const std::filesystem::path& path) {
  AtomicFile file(path);
  write_file(model, [&](std::span<const std::byte> part) { file.write(part); });
  file.commit();
}

std::vector<std::byte> serialize(const Model& model) {
  std::vector<std::byte> bytes;
  write_file(model,
             [&](std::span<const std::byte> part) { bytes.insert(bytes.end(), part.begin(), part.end()); });
  return bytes;
}

bool is_engine_file(const std::filesystem::path& path) {
  const MappedFile file(path);
  return file.bytes().size() >= 8 && std::memcmp(file.bytes().data(), kMagic, 8) == 0;
}

Engine Engine::load(const std::filesystem::path& path) {
  const auto file = std::make_shared<const MappedFile>(path);
  const size_t size = file->bytes().size();
  if (const auto copy = copy_in_large_pages(file->bytes()))
    return read({copy.get(), size}, copy, path.string());
  return read(file->bytes(), file, path.string());
}

Engine Engine::load(std::span<const std::byte> bytes, const std::string& name) {
  // Kernels want the constants aligned as they are in a mapped file.
  const auto copy = std::make_shared<Tensor>(DType::kUInt8, Shape{static_cast<int64_t>(bytes.size())});
  if (!bytes.empty()) std::memcpy(copy->raw(), bytes.data(), bytes.size());
  return read({static_cast<const std::byte*>(copy->raw()), bytes.size()}, copy, name);
}

Engine Engine::read(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                    const std::string& name) {
  if (bytes.size() < 8 || std::memcmp(bytes.data(), kMagic, 8) != 0)
    fail(ErrorCode::kBadFile, "'{}' is not an Octet engine: make one with octet build", name);
  if (bytes.size() < kPrefix) damaged(name, "it is cut off");
  if (const auto format = get<uint32_t>(bytes, 8); format != kFormat)
    fail(ErrorCode::kBadFile,
         "'{}' has engine format {}, this release reads {}: run octet build on the model again", name, format,
         kFormat);
  if (get<uint64_t>(bytes, 16) != bytes.size())
    damaged(name, fmt::format("it has {} bytes instead of {}", bytes.size(), get<uint64_t>(bytes, 16)));
  if (get<uint64_t>(bytes, 32) != checksum(bytes.first(kHashed), bytes.subspan(kPrefix)))
    damaged(name, "its checksum is wrong");
  const auto header_size = get<uint64_t>(bytes, 24);
  if (header_size > bytes.size() - kPrefix) damaged(name, "its header is cut off");
  const auto data_start =
      static_cast<uint64_t>(round_up(kPrefix + static_cast<int64_t>(header_size), kAlignment));
  if (data_start > bytes.size()) damaged(name, "its data is cut off");

  // The verifier wants the header aligned, which its place in the file gives it (40 is a multiple of 8).
  const auto* raw = reinterpret_cast<const uint8_t*>(bytes.data()) + kPrefix;
  flatbuffers::Verifier verifier(raw, header_size, /*max_depth=*/64, /*max_tables=*/10'000'000);
  if (!fb::VerifyHeaderBuffer(verifier)) damaged(name, "its header is malformed");
  const fb::Header& header = *fb::GetHeader(raw);
  const auto data = bytes.subspan(data_start);
  if (header.data_bytes() != data.size()) damaged(name, "its data has the wrong size");
  return Engine(Reader(header, data, std::move(owner), name).read());
}

}  // namespace octet::engine
