// The file of a part of a calibration.
#include <xxhash.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "calibrate/part.h"

namespace octet {
namespace {

constexpr char kMagic[] = "octet part of a ";  // calibration; without the 0
constexpr size_t kMagicBytes = sizeof kMagic - 1;
constexpr uint32_t kVersion = 1;
constexpr size_t kPrefix = 36;  // magic, version, size, checksum
constexpr size_t kLargestFile = size_t{2} << 30;
constexpr size_t kLongestText = size_t{1} << 16;
constexpr uint64_t kMostSamples = uint64_t{1} << 32;
constexpr uint64_t kMostValues = uint64_t{1} << 56;  // of a tensor: sums of many parts stay exact
constexpr size_t kMostTensors = size_t{1} << 20;
constexpr size_t kMostChannels = size_t{1} << 16;

static_assert(std::endian::native == std::endian::little);

class Writer {
 public:
  template <typename T>
  void raw(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void whole(uint64_t value) {  // 7 bits a byte, least significant first
    for (; value >= 0x80; value >>= 7) text_.push_back(static_cast<char>(value | 0x80));
    text_.push_back(static_cast<char>(value));
  }
  void text(const std::string& value) {
    if (value.size() > kLongestText)
      fail(ErrorCode::kInvalidArgument, "a name of {} bytes: expected at most {}", value.size(),
           kLongestText);
    whole(value.size());
    text_ += value;
  }
  void sum(const FixedSum& value) {
    for (const uint64_t limb : value.limbs) raw(limb);
  }
  void extremes(const ExtremeSums& sums) {
    for (const FixedSum* s : {&sums.min, &sums.min_square, &sums.max, &sums.max_square}) sum(*s);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& where) : rest_(bytes), where_(where) {}

  [[noreturn]] void bad(const std::string& what) const {
    fail(ErrorCode::kBadFile, "{}: damaged part of a calibration: {}; make it again", where_, what);
  }

  template <typename T>
  T raw() {
    T value;
    const auto from = bytes(sizeof value);
    std::memcpy(&value, from.data(), sizeof value);
    return value;
  }
  uint64_t whole(uint64_t most, const char* what) {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<uint64_t>(bytes(1)[0]);
      if (shift == 63 && byte > 1) bad("a number has too many bits");
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        if (byte == 0 && shift > 0) bad("a number is not in its shortest form");
        break;
      }
    }
    if (value > most) bad(fmt::format("{} {}, expected at most {}", value, what, most));
    return value;
  }
  // A number of things that take at least `each` bytes of what is left.
  size_t count(size_t most, size_t each, const char* what) {
    const auto n = static_cast<size_t>(whole(most, what));
    if (n > rest_.size() / each) bad(fmt::format("{} {} in {} bytes", n, what, rest_.size()));
    return n;
  }
  std::string text() {
    const auto from = bytes(static_cast<size_t>(whole(kLongestText, "bytes of text")));
    return {reinterpret_cast<const char*>(from.data()), from.size()};
  }
  bool flag() {
    const auto value = raw<uint8_t>();
    if (value > 1) bad(fmt::format("a flag is {}", value));
    return value == 1;
  }
  float finite() {
    const auto value = raw<float>();
    if (!std::isfinite(value)) bad("a number is not finite");
    return value;
  }
  FixedSum sum() {
    FixedSum value;
    for (uint64_t& limb : value.limbs) limb = raw<uint64_t>();
    return value;
  }
  ExtremeSums extremes() {
    ExtremeSums sums;
    for (FixedSum* s : {&sums.min, &sums.min_square, &sums.max, &sums.max_square}) *s = sum();
    return sums;
  }
  bool at_end() const { return rest_.empty(); }

 private:
  std::span<const std::byte> bytes(size_t n) {
    if (n > rest_.size()) bad("it ends too early");
    const auto first = rest_.first(n);
    rest_ = rest_.subspan(n);
    return first;
  }

  std::span<const std::byte> rest_;
  const std::string& where_;
};

void write_side(Writer& w, const HistogramSide& side) {
  w.whole(side.counts.size());
  if (side.empty()) return;
  w.raw(static_cast<int32_t>(side.exponent));
  for (const uint64_t n : side.counts) w.whole(n);
}

HistogramSide read_side(Reader& r) {
  HistogramSide side;
  const size_t bins = r.count(HistogramSide::kBins, 1, "bins");
  if (bins == 0) return side;
  side.exponent = r.raw<int32_t>();
  if (side.exponent < HistogramSide::kSmallestExponent || side.exponent > 128)
    r.bad(fmt::format("a histogram's exponent is {}", side.exponent));
  side.counts.reserve(bins);
  for (size_t i = 0; i < bins; ++i) side.counts.push_back(r.whole(kMostValues, "values"));
  return side;
}

void write_statistics(Writer& w, const StatisticsData& s) {
  for (const uint64_t n : {s.nan, s.infinite, s.zero, s.samples}) w.whole(n);
  w.raw(s.min);
  w.raw(s.max);
  write_side(w, s.positive);
  write_side(w, s.negative);
  w.extremes(s.extremes);
  w.whole(s.per_sample.size());
  for (const SampleExtremes& e : s.per_sample) {
    w.whole(static_cast<uint64_t>(e.sample));
    w.raw(e.min);
    w.raw(e.max);
  }
  w.whole(s.channels.size());
  for (const ChannelStatistics& c : s.channels) {
    w.whole(c.count);
    w.whole(c.samples);
    w.raw(c.min);
    w.raw(c.max);
    w.sum(c.sum);
    w.sum(c.square);
    w.extremes(c.extremes);
  }
}

// `samples` are those of the part that were read, sorted.
StatisticsData read_statistics(Reader& r, const std::vector<int64_t>& samples) {
  constexpr size_t kSampleBytes = 9, kChannelBytes = 2 + 2 * 4 + 6 * 24;
  StatisticsData s;
  for (uint64_t* n : {&s.nan, &s.infinite, &s.zero}) *n = r.whole(kMostValues, "values");
  s.samples = r.whole(samples.size(), "samples of a tensor");
  s.min = r.finite();
  s.max = r.finite();
  s.positive = read_side(r);
  s.negative = read_side(r);
  s.extremes = r.extremes();
  const size_t with_extremes = r.count(samples.size(), kSampleBytes, "extremes");
  if (with_extremes != s.samples) r.bad(fmt::format("{} extremes of {} samples", with_extremes, s.samples));
  auto next = samples.begin();
  for (size_t i = 0; i < with_extremes; ++i) {
    const auto index = static_cast<int64_t>(r.whole(kMostSamples, "as a sample's index"));
    next = std::lower_bound(next, samples.end(), index);
    if (next == samples.end() || *next != index) r.bad(fmt::format("extremes of a strange sample {}", index));
    ++next;
    SampleExtremes e{index, r.finite(), 0};
    e.max = r.finite();
    if (e.min > e.max || e.min < s.min || e.max > s.max) r.bad("a sample's extremes contradict the tensor's");
    s.per_sample.push_back(e);
  }
  const size_t channels = r.count(kMostChannels, kChannelBytes, "channels");
  uint64_t in_channels = 0, finite = s.zero;
  for (size_t i = 0; i < channels; ++i) {
    ChannelStatistics c;
    c.count = r.whole(kMostValues, "values of a channel");
    c.samples = r.whole(samples.size(), "samples of a channel");
    c.min = r.finite();
    c.max = r.finite();
    if (c.min > c.max || (c.count == 0) != (c.samples == 0)) r.bad("a channel contradicts itself");
    c.sum = r.sum();
    c.square = r.sum();
    c.extremes = r.extremes();
    in_channels += c.count;
    s.channels.push_back(c);
  }
  for (const HistogramSide* side : {&s.positive, &s.negative})
    for (const uint64_t n : side->counts) finite += n;
  if (finite > kMostValues || (channels > 0 && finite != in_channels))
    r.bad(fmt::format("{} values, but {} in its channels", finite, in_channels));
  TensorStatistics::from_data(s);  // checks the rest
  return s;
}

void write_sample(Writer& w, const PartSample& s) {
  w.whole(static_cast<uint64_t>(s.index));
  w.raw(s.name_hash);
  w.raw(s.content_hash);
  w.raw(static_cast<uint8_t>(s.skipped));
  if (!s.skipped) return;
  w.text(s.name);
  w.text(s.reason);
}

PartSample read_sample(Reader& r) {
  PartSample s;
  s.index = static_cast<int64_t>(r.whole(kMostSamples, "as a sample's index"));
  s.name_hash = r.raw<uint64_t>();
  s.content_hash = r.raw<uint64_t>();
  s.skipped = r.flag();
  if (!s.skipped) return s;
  s.name = r.text();
  s.reason = r.text();
  return s;
}

CalibrationPart read_part(Reader& r) {
  CalibrationPart part;
  for (std::string* text : {&part.octet_version, &part.model_name, &part.preprocess, &part.target, &part.isa})
    *text = r.text();
  part.model_hash = r.raw<uint64_t>();
  part.names_hash = r.raw<uint64_t>();
  part.total = static_cast<int64_t>(r.whole(kMostSamples, "samples"));
  const auto method = r.raw<uint8_t>();
  if (method >= kRangeMethods.size()) r.bad(fmt::format("method {}", method));
  part.method = static_cast<RangeMethod>(method);
  const auto dtype = r.raw<uint8_t>();
  if (dtype >= kDTypeCount) r.bad(fmt::format("type {}", dtype));
  part.options.dtype = static_cast<DType>(dtype);
  part.options.symmetric = r.flag();
  part.options.percentile = r.raw<double>();
  part.options.moving_average = r.raw<double>();
  validate(part.options);

  const size_t samples = r.count(static_cast<size_t>(part.total), 18, "samples");
  std::vector<int64_t> read;
  for (size_t i = 0; i < samples; ++i) {
    part.samples.push_back(read_sample(r));
    const PartSample& s = part.samples.back();
    if (s.index >= part.total || (i > 0 && s.index <= part.samples[i - 1].index))
      r.bad(fmt::format("sample {} of {} is out of order", s.index, part.total));
    if (!s.skipped) read.push_back(s.index);
  }
  const size_t tensors = r.count(kMostTensors, 120, "tensors");
  for (size_t i = 0; i < tensors; ++i) {
    const std::string name = r.text();
    if (name.empty() || (!part.tensors.empty() && name <= part.tensors.rbegin()->first))
      r.bad(fmt::format("the tensor '{}' is out of order", name));
    PartTensor& t = part.tensors[name];
    t.copied = r.flag();
    t.statistics = read_statistics(r, read);
    const size_t energies = r.count(kMostChannels, sizeof(double), "energies");
    if (energies != 0 && energies != t.statistics.channels.size())
      r.bad(fmt::format("{} energies of {} channels", energies, t.statistics.channels.size()));
    for (size_t c = 0; c < energies; ++c) {
      t.energies.push_back(r.raw<double>());
      if (!std::isfinite(t.energies.back()) || t.energies.back() < 0) r.bad("an energy is no such number");
    }
  }
  if (!r.at_end()) r.bad("something follows its end");
  return part;
}

}  // namespace

std::string part_bytes(const CalibrationPart& part) {
  Writer w;
  for (const std::string* text :
       {&part.octet_version, &part.model_name, &part.preprocess, &part.target, &part.isa})
    w.text(*text);
  w.raw(part.model_hash);
  w.raw(part.names_hash);
  w.whole(static_cast<uint64_t>(part.total));
  w.raw(static_cast<uint8_t>(part.method));
  w.raw(static_cast<uint8_t>(part.options.dtype));
  w.raw(static_cast<uint8_t>(part.options.symmetric));
  w.raw(part.options.percentile);
  w.raw(part.options.moving_average);
  w.whole(part.samples.size());
  for (const PartSample& s : part.samples) write_sample(w, s);
  w.whole(part.tensors.size());
  for (const auto& [name, tensor] : part.tensors) {
    w.text(name);
    w.raw(static_cast<uint8_t>(tensor.copied));
    write_statistics(w, tensor.statistics);
    w.whole(tensor.energies.size());
    for (const double e : tensor.energies) w.raw(e);
  }
  const std::string payload = w.take();
  Writer file;
  for (size_t i = 0; i < kMagicBytes; ++i) file.raw(kMagic[i]);
  file.raw(kVersion);
  file.raw(static_cast<uint64_t>(payload.size()));
  file.raw(static_cast<uint64_t>(XXH3_64bits(payload.data(), payload.size())));
  return file.take() + payload;
}

bool is_part(std::span<const std::byte> bytes) {
  return bytes.size() >= kMagicBytes && std::memcmp(bytes.data(), kMagic, kMagicBytes) == 0;
}

CalibrationPart parse_part(std::span<const std::byte> bytes, const std::string& where) {
  if (!is_part(bytes))
    fail(ErrorCode::kBadFile, "{}: no part of a calibration: expected what 'octet calibrate --shard' wrote",
         where);
  if (bytes.size() > kLargestFile)
    fail(ErrorCode::kBadFile, "{}: {} bytes, expected at most {}", where, bytes.size(), kLargestFile);
  Reader prefix(bytes.subspan(kMagicBytes), where);
  const auto version = prefix.raw<uint32_t>();
  if (version != kVersion)
    fail(ErrorCode::kBadFile, "{}: version {} of the format, this octet knows {}: make it again", where,
         version, kVersion);
  const auto size = prefix.raw<uint64_t>(), checksum = prefix.raw<uint64_t>();
  const auto payload = bytes.subspan(kPrefix);
  if (payload.size() != size) prefix.bad(fmt::format("{} bytes, expected {}", payload.size(), size));
  if (XXH3_64bits(payload.data(), payload.size()) != checksum) prefix.bad("its checksum is wrong");
  Reader reader(payload, where);
  try {
    return read_part(reader);
  } catch (const Error& error) {
    if (error.message().starts_with(where)) throw;
    reader.bad(error.message());
  }
}

void save_part(const CalibrationPart& part, const std::filesystem::path& path) {
  AtomicFile file(path);
  file.write(part_bytes(part));
  file.commit();
}

CalibrationPart load_part(const std::filesystem::path& path) {
  return parse_part(MappedFile(path).bytes(), path.string());
}

}  // namespace octet
