#include "calibrate/table.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"

namespace octet {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kFormat = "octet calibration table";
constexpr int kVersion = 2;
constexpr int64_t kLargestFile = int64_t{256} << 20;
constexpr int kDeepest = 8;

struct ChannelField {
  const char* name;
  std::vector<double> TableChannels::*values;
};
constexpr ChannelField kChannelFields[] = {
    {"mean", &TableChannels::mean},         {"mean_square", &TableChannels::mean_square},
    {"min_mean", &TableChannels::min_mean}, {"min_deviation", &TableChannels::min_deviation},
    {"max_mean", &TableChannels::max_mean}, {"max_deviation", &TableChannels::max_deviation}};

[[noreturn]] void bad(const std::string& where, const std::string& what) {
  fail(ErrorCode::kBadFile, "{}: {}", where, what);
}

void check(const CalibrationTable& table, const std::string& where) {
  validate(table.options);
  for (const auto& [name, t] : table.tensors) {
    const std::string here = fmt::format("{}: tensor '{}'", where, name);
    if (name.empty()) bad(where, "a tensor has no name");
    const auto finite = [&](double value, const char* field) {
      if (!std::isfinite(value))
        bad(here, fmt::format("field '{}': expected a finite number, found {}", field, value));
    };
    finite(t.range.low, "low");
    finite(t.range.high, "high");
    finite(t.min, "min");
    finite(t.max, "max");
    finite(t.scale, "scale");
    if (t.scale < 0) bad(here, fmt::format("scale {} is negative", t.scale));
    if (t.range.low > t.range.high)
      bad(here, fmt::format("low {} is above high {}", t.range.low, t.range.high));
    if (t.min > t.max) bad(here, fmt::format("min {} is above max {}", t.min, t.max));
    if (t.nan > t.count || t.infinite > t.count - t.nan || t.zeros > t.count - t.nan - t.infinite)
      bad(here, fmt::format("nan {}, infinite {} and zeros {} exceed count {}", t.nan, t.infinite, t.zeros,
                            t.count));
    for (const auto& [method, choice] : t.methods) {
      const std::string field = fmt::format("methods.{}", range_method_name(method));
      for (const double value :
           {static_cast<double>(choice.range.low), static_cast<double>(choice.range.high), choice.mse})
        finite(value, field.c_str());
      if (choice.range.low > choice.range.high || choice.mse < 0)
        bad(here, fmt::format("field '{}': low {}, high {}, error {}", field, choice.range.low,
                              choice.range.high, choice.mse));
    }
    const TableChannels& c = t.channels;
    const auto length = [&](size_t found, const char* field) {
      if (found != c.min.size())
        bad(here, fmt::format("field '{}': {} channels, but {} in 'min'", field, found, c.min.size()));
    };
    length(c.max.size(), "max");
    for (size_t i = 0; i < c.min.size(); ++i) {
      finite(c.min[i], "channels.min");
      finite(c.max[i], "channels.max");
      if (c.min[i] > c.max[i])
        bad(here, fmt::format("channel {}: min {} is above max {}", i, c.min[i], c.max[i]));
    }
    for (const ChannelField& field : kChannelFields) {
      const std::vector<double>& values = c.*field.values;
      length(values.size(), field.name);
      for (const double value : values) finite(value, field.name);
    }
  }
}

// ---- writing

std::string quoted(const std::string& text) {
  try {
    return Json(text).dump();
  } catch (const Json::exception&) {
    fail(ErrorCode::kInvalidArgument, "a name in the calibration table is not UTF-8: '{}'",
         Json(text).dump(-1, ' ', true, Json::error_handler_t::replace));
  }
}

std::string number(double value) {
  return fmt::format("{}", value + 0.0);
}

// Shortest text that reads back to the same float, even by way of double.
std::string number(float value) {
  std::string text = fmt::format("{}", value + 0.0f);
  if (static_cast<float>(std::strtod(text.c_str(), nullptr)) != value)
    return number(static_cast<double>(value));
  return text;
}

template <typename T>
std::string numbers(const std::vector<T>& values) {
  std::string text = "[";
  for (const T value : values) {
    if (text.size() > 1) text += ", ";
    text += number(value);
  }
  return text + "]";
}

std::string tensor_text(const TableTensor& t) {
  std::string text = fmt::format(
      R"({{"low": {}, "high": {}, "min": {}, "max": {}, "count": {}, "nan": {}, "infinite": {}, "zeros": {})",
      number(t.range.low), number(t.range.high), number(t.min), number(t.max), t.count, t.nan, t.infinite,
      t.zeros);
  if (t.scale > 0) text += fmt::format(R"(, "scale": {})", number(t.scale));
  text += R"(, "methods": {)";
  const char* separator = "";
  for (const auto& [method, choice] : t.methods) {
    text += fmt::format(R"({}"{}": [{}, {}, {}])", separator, range_method_name(method),
                        number(choice.range.low), number(choice.range.high), number(choice.mse));
    separator = ", ";
  }
  text += "}";
  const TableChannels& c = t.channels;
  if (!c.empty()) {
    text += fmt::format(R"(, "channels": {{"min": {}, "max": {})", numbers(c.min), numbers(c.max));
    for (const ChannelField& field : kChannelFields)
      text += fmt::format(R"(, "{}": {})", field.name, numbers(c.*field.values));
    text += "}";
  }
  return text + "}";
}

// ---- reading

// An object whose fields are taken one by one; what is left at the end is unknown.
class Fields {
 public:
  Fields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) bad(where_, fmt::format("expected an object, found {}", object.type_name()));
  }

  const Json& take(const char* name) {
    const auto found = object_.find(name);
    if (found == object_.end()) bad(where_, fmt::format("field '{}' is missing", name));
    taken_.insert(name);
    return *found;
  }
  const Json* take_if(const char* name) { return object_.contains(name) ? &take(name) : nullptr; }

  std::string string(const char* name) {
    const Json& value = take(name);
    if (!value.is_string()) wrong(name, "a text", value);
    return value.get<std::string>();
  }
  uint64_t whole(const char* name) {
    const Json& value = take(name);
    if (!value.is_number_unsigned()) wrong(name, "a whole number that is not negative", value);
    return value.get<uint64_t>();
  }
  bool boolean(const char* name) {
    const Json& value = take(name);
    if (!value.is_boolean()) wrong(name, "true or false", value);
    return value.get<bool>();
  }
  uint64_t hash(const char* name) {
    const std::string text = string(name);
    if (text.size() != 16 || text.find_first_not_of("0123456789abcdef") != std::string::npos)
      wrong(name, "16 hexadecimal digits", object_.at(name));
    return std::strtoull(text.c_str(), nullptr, 16);
  }
  template <typename T>
  T real(const char* name) {
    return to_real<T>(name, take(name));
  }
  template <typename T>
  std::vector<T> reals(const char* name) {
    const Json& value = take(name);
    if (!value.is_array()) wrong(name, "a list of numbers", value);
    std::vector<T> result;
    result.reserve(value.size());
    for (const Json& item : value) result.push_back(to_real<T>(name, item));
    return result;
  }

  void finish() const {
    for (const auto& item : object_.items())
      if (!taken_.contains(item.key())) bad(where_, fmt::format("unknown field '{}'", item.key()));
  }

  [[noreturn]] void wrong(const char* name, const std::string& expected, const Json& found) const {
    std::string text = found.dump(-1, ' ', true, Json::error_handler_t::replace);
    if (text.size() > 40) text = text.substr(0, 40) + "...";
    bad(where_, fmt::format("field '{}': expected {}, found {}", name, expected, text));
  }

 private:
  template <typename T>
  T to_real(const char* name, const Json& value) const {
    if (!value.is_number()) wrong(name, "a number", value);
    const double number = value.get<double>();
    if (!(std::fabs(number) <= static_cast<double>(std::numeric_limits<T>::max())))
      wrong(name, "a finite number", value);
    return static_cast<T>(number);
  }

  const Json& object_;
  std::string where_;
  std::set<std::string, std::less<>> taken_;
};

Json parse_json(std::string_view text, const std::string& where) {
  std::vector<std::set<std::string>> keys;
  const auto no_repeats = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kDeepest) bad(where, "not a calibration table: nested too deeply");
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
      bad(where, fmt::format("field '{}' appears twice", parsed.get<std::string>()));
    return true;
  };
  try {
    return Json::parse(text, no_repeats);
  } catch (const Json::parse_error& e) {
    bad(where, fmt::format("not a calibration table: no valid JSON at byte {}", e.byte));
  } catch (const Json::exception& e) {
    bad(where, "not a calibration table: a number is out of range");
  }
}

TableTensor parse_tensor(const Json& json, const std::string& where) {
  TableTensor t;
  Fields fields(json, where);
  t.range.low = fields.real<float>("low");
  t.range.high = fields.real<float>("high");
  t.min = fields.real<float>("min");
  t.max = fields.real<float>("max");
  t.count = fields.whole("count");
  t.nan = fields.whole("nan");
  t.infinite = fields.whole("infinite");
  t.zeros = fields.whole("zeros");
  if (fields.take_if("scale")) t.scale = fields.real<float>("scale");
  const Json& methods = fields.take("methods");
  if (!methods.is_object()) fields.wrong("methods", "an object", methods);
  Fields choices(methods, where + ": methods");
  for (const auto& item : methods.items()) {
    const std::vector<double> values = choices.reals<double>(item.key().c_str());
    constexpr double kLargest = std::numeric_limits<float>::max();
    if (values.size() != 3 || std::fabs(values[0]) > kLargest || std::fabs(values[1]) > kLargest)
      choices.wrong(item.key().c_str(), "low, high and the mean squared error", item.value());
    try {
      t.methods[parse_range_method(item.key())] = {
          {static_cast<float>(values[0]), static_cast<float>(values[1])}, values[2]};
    } catch (const Error& e) {
      bad(where, e.message());
    }
  }
  if (const Json* channels = fields.take_if("channels")) {
    Fields c(*channels, where + ": channels");
    t.channels.min = c.reals<float>("min");
    t.channels.max = c.reals<float>("max");
    for (const ChannelField& field : kChannelFields) t.channels.*field.values = c.reals<double>(field.name);
    c.finish();
  }
  fields.finish();
  return t;
}

DType parse_dtype(const std::string& name, const std::string& where) {
  for (int i = 0; i < kDTypeCount; ++i)
    if (dtype_name(static_cast<DType>(i)) == name) return static_cast<DType>(i);
  bad(where, fmt::format("field 'dtype': unknown type '{}'", name));
}

}  // namespace

TableTensor table_tensor(const TensorStatistics& statistics, Range range) {
  TableTensor t{range,
                statistics.min(),
                statistics.max(),
                statistics.count(),
                statistics.nan(),
                statistics.infinite(),
                statistics.zeros(),
                {},
                0,
                {}};
  for (const ChannelStatistics& channel : statistics.channels()) {
    const double n = static_cast<double>(std::max<uint64_t>(1, channel.count));
    const ExtremeMoments moments = extreme_moments(channel.extremes, channel.samples);
    t.channels.min.push_back(channel.min);
    t.channels.max.push_back(channel.max);
    t.channels.mean.push_back(channel.sum.value() / n);
    t.channels.mean_square.push_back(channel.square.value() / n);
    t.channels.min_mean.push_back(moments.min_mean);
    t.channels.min_deviation.push_back(moments.min_deviation);
    t.channels.max_mean.push_back(moments.max_mean);
    t.channels.max_deviation.push_back(moments.max_deviation);
  }
  return t;
}

void choose_method(CalibrationTable& table, RangeMethod method) {
  for (auto& [name, tensor] : table.tensors) {
    const auto found = tensor.methods.find(method);
    if (found == tensor.methods.end())
      fail(ErrorCode::kInvalidArgument,
           "the calibration table has no range of '{}' by {}: calibrate again with --method {}", name,
           range_method_name(method), range_method_name(method));
    tensor.range = found->second.range;
  }
  table.method = method;
}

std::string table_text(const CalibrationTable& table) {
  check(table, "calibration table");
  std::string text = "{\n";
  const auto field = [&](const char* name, const std::string& value) {
    text += fmt::format("  \"{}\": {},\n", name, value);
  };
  field("format", quoted(std::string(kFormat)));
  field("version", fmt::format("{}", kVersion));
  field("octet", quoted(table.octet_version));
  field("model_name", quoted(table.model_name));
  field("model", fmt::format("\"{:016x}\"", table.model_hash));
  field("data", fmt::format("\"{:016x}\"", table.data_hash));
  field("samples", fmt::format("{}", table.samples));
  field("method", quoted(std::string(range_method_name(table.method))));
  field("options",
        fmt::format(R"({{"dtype": "{}", "symmetric": {}, "percentile": {}, "moving_average": {}}})",
                    dtype_name(table.options.dtype), table.options.symmetric,
                    number(table.options.percentile), number(table.options.moving_average)));
  field("preprocess", quoted(table.preprocess));
  field("isa", quoted(table.isa));
  text += "  \"tensors\": {";
  const char* separator = "\n";
  for (const auto& [name, t] : table.tensors) {
    text += fmt::format("{}    {}: {}", separator, quoted(name), tensor_text(t));
    separator = ",\n";
  }
  return text + "\n  }\n}\n";
}

CalibrationTable parse_table(std::string_view text, const std::string& where) {
  const Json json = parse_json(text, where);
  Fields fields(json, where);
  const Json* format = fields.take_if("format");
  if (format == nullptr || *format != kFormat)
    bad(where, fmt::format("not a calibration table: expected a field 'format' that is '{}'", kFormat));
  const uint64_t version = fields.whole("version");
  if (version != kVersion)
    bad(where,
        fmt::format("calibration table of version {}, this program reads version {}: make it again with "
                    "'octet calibrate'",
                    version, kVersion));
  CalibrationTable table;
  table.octet_version = fields.string("octet");
  table.model_name = fields.string("model_name");
  table.model_hash = fields.hash("model");
  table.data_hash = fields.hash("data");
  table.samples = fields.whole("samples");
  table.preprocess = fields.string("preprocess");
  table.isa = fields.string("isa");
  const std::string method = fields.string("method");
  const Json& options = fields.take("options");
  Fields option(options, where + ": options");
  table.options.dtype = parse_dtype(option.string("dtype"), where + ": options");
  table.options.symmetric = option.boolean("symmetric");
  table.options.percentile = option.real<double>("percentile");
  table.options.moving_average = option.real<double>("moving_average");
  option.finish();
  try {
    table.method = parse_range_method(method);
    validate(table.options);
  } catch (const Error& e) {
    bad(where, e.message());
  }
  const Json& tensors = fields.take("tensors");
  if (!tensors.is_object()) fields.wrong("tensors", "an object", tensors);
  fields.finish();
  for (const auto& item : tensors.items())
    table.tensors.emplace(item.key(),
                          parse_tensor(item.value(), fmt::format("{}: tensor '{}'", where, item.key())));
  check(table, where);
  return table;
}

void save_table(const CalibrationTable& table, const std::filesystem::path& path) {
  const std::string text = table_text(table);
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

CalibrationTable load_table(const std::filesystem::path& path) {
  return parse_table(read_text(path, kLargestFile), path.string());
}

void check_belongs(const CalibrationTable& table, uint64_t model_hash) {
  if (table.model_hash == model_hash) return;
  fail(ErrorCode::kInvalidArgument,
       "the calibration table was made for the model '{}' (hash {:016x}), not for this one (hash {:016x}): "
       "calibrate "
       "this model with 'octet calibrate', or give the model that the table was made for",
       table.model_name, table.model_hash, model_hash);
}

}  // namespace octet
