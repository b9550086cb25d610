#include "data/preprocess.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <opencv2/imgproc.hpp>

#include "base/checked.h"

namespace octet {
namespace {

constexpr int kMaxSide = 16384;
constexpr int64_t kMaxPixels = 100'000'000;
constexpr std::string_view kSteps =
    "short=N, stretch=WxH, crop=N, crop=WxH, letterbox=WxH[,PAD][,topleft], multiple=N[,PAD], "
    "interp=linear|area, rgb, bgr, "
    "gray, "
    "mean=a[,b,c], std=a[,b,c], scale=f, nhwc";

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

template <typename T>
bool parse_whole(std::string_view text, T& value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end;
}

std::string join(const std::vector<double>& values) {
  std::string text;
  for (double v : values) text += fmt::format("{}{}", text.empty() ? "" : ",", v);
  return text;
}

}  // namespace

class Preprocess::Parser {
 public:
  Preprocess parse(std::string_view text) {
    constexpr std::string_view kSpace = " \t\r\n";
    for (size_t at = 0; (at = text.find_first_not_of(kSpace, at)) != std::string_view::npos;) {
      const size_t end = std::min(text.find_first_of(kSpace, at), text.size());
      step(text.substr(at, end - at));
      at = end;
    }
    if (result_.channels() == 1 && (result_.mean_.size() > 1 || result_.std_.size() > 1))
      fail(ErrorCode::kInvalidArgument, "preprocess: gray has one channel, but mean or std has three values");
    return std::move(result_);
  }

 private:
  [[noreturn]] void bad(std::string_view expected) const {
    fail(ErrorCode::kInvalidArgument, "preprocess step '{}': expected {}", token_, expected);
  }

  void step(std::string_view token) {
    token_ = token;
    const size_t equals = token.find('=');
    const std::string_view name = token.substr(0, equals);
    const bool has_value = equals != std::string_view::npos;
    const std::string_view value = has_value ? token.substr(equals + 1) : std::string_view();
    if (!has_value && name == "rgb") return order(Order::kRgb);
    if (!has_value && name == "bgr") return order(Order::kBgr);
    if (!has_value && name == "gray") return order(Order::kGray);
    if (!has_value && name == "nhwc") {
      once(layout_seen_);
      result_.channels_last_ = true;
    } else if (has_value && name == "short") {
      const int n = side(value);
      result_.steps_.push_back({Kind::kShort, n, n});
    } else if (has_value && name == "stretch") {
      box(Kind::kStretch, value);
    } else if (has_value && name == "crop") {
      if (value.find('x') != std::string_view::npos) return box(Kind::kCrop, value);
      const int n = side(value);
      result_.steps_.push_back({Kind::kCrop, n, n});
    } else if (has_value && name == "letterbox") {
      letterbox(value);
    } else if (has_value && name == "multiple") {
      multiple(value);
    } else if (has_value && name == "interp") {
      once(interp_seen_);
      if (value == "linear")
        result_.interpolation_ = Interpolation::kLinear;
      else if (value == "area")
        result_.interpolation_ = Interpolation::kArea;
      else
        bad("interp=linear or interp=area");
    } else if (has_value && name == "mean") {
      once(mean_seen_);
      result_.mean_ = numbers(value);
    } else if (has_value && name == "std") {
      once(std_seen_);
      result_.std_ = numbers(value);
      for (double v : result_.std_)
        if (!(static_cast<float>(v) > 0)) bad("values above 0");
    } else if (has_value && name == "scale") {
      once(scale_seen_);
      result_.scale_ = number(value);
      if (static_cast<float>(result_.scale_) == 0) bad("a value other than 0");
    } else {
      fail(ErrorCode::kInvalidArgument, "unknown preprocess step '{}'; the steps are {}", token, kSteps);
    }
  }

  void once(bool& seen) const {
    if (seen)
      fail(ErrorCode::kInvalidArgument, "preprocess: '{}' contradicts an earlier step; give it once", token_);
    seen = true;
  }

  void order(Order value) {
    once(order_seen_);
    result_.order_ = value;
  }

  int side(std::string_view text) const {
    int n = 0;
    if (!parse_whole(text, n) || n < 1 || n > kMaxSide) bad(fmt::format("sizes from 1 to {}", kMaxSide));
    return n;
  }

  void box(Kind kind, std::string_view text) {
    const size_t x = text.find('x');
    if (x == std::string_view::npos) bad("WxH");
    result_.steps_.push_back({kind, side(text.substr(0, x)), side(text.substr(x + 1))});
  }

  void letterbox(std::string_view value) {
    const auto parts = split(value, ',');
    box(Kind::kLetterbox, parts[0]);
    Step& added = result_.steps_.back();
    bool pad = false;
    for (size_t i = 1; i < parts.size(); ++i) {
      if (parts[i] == "topleft" && !added.top_left) {
        added.top_left = true;
      } else {
        if (pad || !parse_whole(parts[i], added.pad) || added.pad < 0 || added.pad > 255)
          bad("letterbox=WxH[,PAD][,topleft] with PAD from 0 to 255");
        pad = true;
      }
    }
  }

  void multiple(std::string_view value) {
    const auto parts = split(value, ',');
    const int n = side(parts[0]);
    result_.steps_.push_back({Kind::kMultiple, n, n});
    int& pad = result_.steps_.back().pad;
    if (parts.size() > 2 || (parts.size() == 2 && (!parse_whole(parts[1], pad) || pad < 0 || pad > 255)))
      bad("multiple=N[,PAD] with PAD from 0 to 255");
  }

  double number(std::string_view text) const {
    double v = 0;
    if (!parse_whole(text, v) || !std::isfinite(static_cast<float>(v))) bad("a number");
    return v;
  }

  // Equal values become one.
  std::vector<double> numbers(std::string_view text) const {
    std::vector<double> values;
    for (std::string_view part : split(text, ',')) values.push_back(number(part));
    if (values.size() != 1 && values.size() != 3) bad("one value or three");
    if (std::all_of(values.begin(), values.end(), [&](double v) { return v == values[0]; })) values.resize(1);
    return values;
  }

  Preprocess result_;
  std::string_view token_;
  bool order_seen_ = false, interp_seen_ = false, mean_seen_ = false, std_seen_ = false, scale_seen_ = false,
       layout_seen_ = false;
};

Preprocess Preprocess::parse(std::string_view text) {
  return Parser().parse(text);
}

std::string Preprocess::text() const {
  std::string out;
  for (const Step& s : steps_) {
    switch (s.kind) {
      case Kind::kShort:
        out += fmt::format("short={} ", s.width);
        break;
      case Kind::kStretch:
        out += fmt::format("stretch={}x{} ", s.width, s.height);
        break;
      case Kind::kCrop:
        out += s.width == s.height ? fmt::format("crop={} ", s.width)
                                   : fmt::format("crop={}x{} ", s.width, s.height);
        break;
      case Kind::kLetterbox:
        out += fmt::format("letterbox={}x{}", s.width, s.height);
        if (s.pad != 114) out += fmt::format(",{}", s.pad);
        out += s.top_left ? ",topleft " : " ";
        break;
      case Kind::kMultiple:
        out += fmt::format("multiple={}", s.width);
        out += s.pad != 114 ? fmt::format(",{} ", s.pad) : " ";
    }
  }
  if (interpolation_ != Interpolation::kAuto)
    out += interpolation_ == Interpolation::kLinear ? "interp=linear " : "interp=area ";
  out += order_ == Order::kRgb ? "rgb" : order_ == Order::kBgr ? "bgr" : "gray";
  if (!mean_.empty() && mean_ != std::vector<double>{0}) out += " mean=" + join(mean_);
  if (!std_.empty() && std_ != std::vector<double>{1}) out += " std=" + join(std_);
  if (scale_ != 1) out += fmt::format(" scale={}", scale_);
  if (channels_last_) out += " nhwc";
  return out;
}

void Preprocess::fit(const Shape& input) {
  const auto image = image_shape(input);
  if (image && image->channels_last && image->channels == channels()) channels_last_ = true;
}

std::optional<Preprocess::Size> Preprocess::output_size() const {
  std::optional<Size> size;
  for (const Step& s : steps_) {
    if (s.kind == Kind::kShort)
      size.reset();
    else if (s.kind != Kind::kMultiple)
      size = Size{s.height, s.width};
    else if (size)
      size = Size{round_up(size->height, s.height), round_up(size->width, s.width)};
  }
  return size;
}

double Preprocess::per_channel(const std::vector<double>& values, size_t channel, double fallback) const {
  return values.empty() ? fallback : values[values.size() == 1 ? 0 : channel];
}

std::vector<Preprocess::Affine> Preprocess::affine() const {
  std::vector<Affine> result(static_cast<size_t>(channels()));
  for (size_t c = 0; c < result.size(); ++c)
    result[c] = {static_cast<float>(per_channel(mean_, c, 0)), static_cast<float>(per_channel(std_, c, 1)),
                 static_cast<float>(scale_)};
  return result;
}

cv::Mat Preprocess::resize(const cv::Mat& image, int64_t width, int64_t height) const {
  width = std::max<int64_t>(width, 1);
  height = std::max<int64_t>(height, 1);
  // Each side may reach 2^31 here: 16384 times the longest side that a decoder accepts.
  if (width > kMaxPixels || height > kMaxPixels || width * height > kMaxPixels)
    fail(ErrorCode::kInvalidArgument, "an image of {}x{} would be resized to {}x{}; the limit is {} pixels",
         image.cols, image.rows, width, height, kMaxPixels);
  const bool area = interpolation_ == Interpolation::kArea ||
                    (interpolation_ == Interpolation::kAuto && width < image.cols);
  cv::Mat out;
  cv::resize(image, out, cv::Size(static_cast<int>(width), static_cast<int>(height)), 0, 0,
             area ? cv::INTER_AREA : cv::INTER_LINEAR);
  return out;
}

cv::Mat Preprocess::geometry(const cv::Mat& bgr) const {
  if (bgr.empty() || bgr.type() != CV_8UC3)
    fail(ErrorCode::kInternal, "preprocess: expected an 8-bit BGR image");
  const auto rounded = [](double v) { return static_cast<int64_t>(std::nearbyint(v)); };
  cv::Mat image = bgr;
  for (const Step& s : steps_) {
    const int w = image.cols, h = image.rows;
    switch (s.kind) {
      case Kind::kShort: {
        const double scale = static_cast<double>(s.width) / std::min(h, w);
        image = resize(image, std::max<int64_t>(s.width, rounded(w * scale)),
                       std::max<int64_t>(s.width, rounded(h * scale)));
        break;
      }
      case Kind::kStretch:
        image = resize(image, s.width, s.height);
        break;
      case Kind::kCrop:
        if (w < s.width || h < s.height)
          fail(ErrorCode::kInvalidArgument, "crop={}x{} does not fit an image of {}x{}; resize it before",
               s.width, s.height, w, h);
        image = image(cv::Rect((w - s.width) / 2, (h - s.height) / 2, s.width, s.height));
        break;
      case Kind::kLetterbox: {
        const double scale = std::min(static_cast<double>(s.width) / w, static_cast<double>(s.height) / h);
        const cv::Mat small = resize(image, rounded(w * scale), rounded(h * scale));
        cv::Mat boxed(s.height, s.width, CV_8UC3, cv::Scalar::all(s.pad));
        const int left = s.top_left ? 0 : (s.width - small.cols) / 2,
                  top = s.top_left ? 0 : (s.height - small.rows) / 2;
        small.copyTo(boxed(cv::Rect(left, top, small.cols, small.rows)));
        image = boxed;
        break;
      }
      case Kind::kMultiple: {
        const int64_t width = round_up(w, s.width), height = round_up(h, s.height);
        if (width == w && height == h) break;
        if (width > kMaxPixels / height)
          fail(ErrorCode::kInvalidArgument, "multiple={} makes an image of {}x{} larger than {} pixels",
               s.width, w, h, kMaxPixels);
        cv::Mat grown(static_cast<int>(height), static_cast<int>(width), CV_8UC3, cv::Scalar::all(s.pad));
        image.copyTo(grown(cv::Rect(0, 0, w, h)));
        image = grown;
      }
    }
  }
  if (order_ != Order::kGray) return image;
  cv::Mat gray;
  cv::cvtColor(image, gray, cv::COLOR_BGR2GRAY);
  return gray;
}

Tensor Preprocess::apply(const cv::Mat& bgr) const {
  const cv::Mat image = geometry(bgr);
  const auto count = static_cast<size_t>(channels()), cols = static_cast<size_t>(image.cols);
  const size_t pixels = static_cast<size_t>(image.rows) * cols;
  Tensor tensor(DType::kFloat32, channels_last_ ? Shape{1, image.rows, image.cols, channels()}
                                                : Shape{1, channels(), image.rows, image.cols});
  float* const out = tensor.as<float>().data();
  const size_t plane = channels_last_ ? 1 : pixels, step = channels_last_ ? count : 1;
  const auto affines = affine();
  for (size_t c = 0; c < count; ++c) {
    std::array<float, 256> table;
    for (size_t x = 0; x < 256; ++x) table[x] = affines[c](static_cast<float>(x));
    // OpenCV's pixels are blue, green, red.
    const size_t from = order_ == Order::kRgb ? count - 1 - c : c;
    for (size_t y = 0; y < static_cast<size_t>(image.rows); ++y) {
      const uint8_t* const row = image.ptr(static_cast<int>(y)) + from;
      float* const to = out + c * plane + y * cols * step;
      for (size_t x = 0; x < cols; ++x) to[x * step] = table[row[x * count]];
    }
  }
  return tensor;
}

Tensor Preprocess::apply_bytes(const cv::Mat& bgr) const {
  const cv::Mat image = geometry(bgr);
  Tensor tensor(DType::kUInt8, {1, image.rows, image.cols, channels()});
  uint8_t* out = tensor.as<uint8_t>().data();
  const auto bytes = static_cast<size_t>(image.cols) * static_cast<size_t>(channels());
  for (int y = 0; y < image.rows; ++y, out += bytes) {
    const uint8_t* row = image.ptr(y);
    if (order_ != Order::kRgb) {
      std::memcpy(out, row, bytes);
      continue;
    }
    for (size_t x = 0; x < bytes; x += 3) {
      out[x] = row[x + 2];
      out[x + 1] = row[x + 1];
      out[x + 2] = row[x];
    }
  }
  return tensor;
}

std::optional<ImageShape> image_shape(const Shape& shape) {
  const auto is_channels = [](int64_t d) { return d == 1 || d == 3; };
  if (shape.size() != 4 || (!is_channels(shape[1]) && !is_channels(shape[3]))) return {};
  const auto size = [](int64_t d) { return std::max<int64_t>(d, 0); };
  if (is_channels(shape[1])) return ImageShape{shape[1], size(shape[2]), size(shape[3]), false};
  return ImageShape{shape[3], size(shape[1]), size(shape[2]), true};
}

}  // namespace octet
