#include "correct/columns.h"

#include <algorithm>

#include "build/lowering.h"

namespace octet {
namespace {

// One number per index that tells samples and positions apart (splitmix64).
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Reads real values, channel by channel.
template <typename T>
class Reader {
 public:
  Reader(const StoredValue& value, const QuantParams& params, int64_t channels)
      : data_(value.data.as<T>().data()), scale_(channels, value.scale), zero_(channels, 0) {
    for (size_t c = 0; !params.scale.empty() && c < scale_.size(); ++c) {
      scale_[c] = params.scale[params.scale.size() == 1 ? 0 : c];
      zero_[c] = static_cast<float>(params.zero_point[params.zero_point.size() == 1 ? 0 : c]);
    }
  }
  float at(int64_t index, int64_t channel) const { return this->channel(channel).at(index); }

  struct Channel {
    const T* data;
    float scale, zero;
    float at(int64_t index) const { return (static_cast<float>(data[index]) - zero) * scale; }
  };
  Channel channel(int64_t c) const { return {data_, scale_[c], zero_[c]}; }

 private:
  const T* data_;
  std::vector<float> scale_, zero_;
};

template <typename T>
void columns(const LayerGeometry& g, const StoredValue& x, const QuantParams& params,
             const std::vector<int64_t>& positions, float* out) {
  const Reader<T> reader(x, params, g.in_channels);
  if (g.rows) {
    for (int64_t p : positions)
      for (int64_t c = 0; c < g.in_channels; ++c) *out++ = reader.at(p * g.in_channels + c, c);
    return;
  }
  const int64_t height = x.data.shape()[2], width = x.data.shape()[3], plane = height * width;
  std::vector<int64_t> taps(g.taps());
  for (int64_t p : positions) {
    const int64_t image = p / (g.out_height * g.out_width), oy = p / g.out_width % g.out_height,
                  ox = p % g.out_width;
    for (int64_t ky = 0; ky < g.kernel[0]; ++ky)
      for (int64_t kx = 0; kx < g.kernel[1]; ++kx) {
        const int64_t y = oy * g.strides[0] - g.pads[0] + ky * g.dilations[0],
                      c = ox * g.strides[1] - g.pads[1] + kx * g.dilations[1];
        taps[ky * g.kernel[1] + kx] = y >= 0 && y < height && c >= 0 && c < width ? y * width + c : -1;
      }
    const bool inside = *std::min_element(taps.begin(), taps.end()) >= 0;
    int64_t base = image * g.in_channels * plane;
    for (int64_t c = 0; c < g.in_channels; ++c, base += plane) {
      const auto channel = reader.channel(c);
      if (inside)
        for (const int64_t tap : taps) *out++ = channel.at(base + tap);
      else
        for (const int64_t tap : taps) *out++ = tap < 0 ? 0 : channel.at(base + tap);
    }
  }
}

template <typename T>
void outputs(const LayerGeometry& g, const StoredValue& value, const QuantParams& params,
             const std::vector<int64_t>& positions, float* out, int64_t stride) {
  const Reader<T> reader(value, params, g.out_channels);
  const int64_t plane = g.out_height * g.out_width;
  for (int64_t p : positions) {
    for (int64_t c = 0; c < g.out_channels; ++c)
      out[c * stride] = g.rows ? reader.at(p * g.out_channels + c, c)
                               : reader.at((p / plane * g.out_channels + c) * plane + p % plane, c);
    ++out;
  }
}

template <typename Call>
void by_type(const StoredValue& value, const Call& call) {
  switch (value.data.dtype()) {
    case DType::kInt16:
      return call(int16_t{});
    case DType::kUInt8:
      return call(uint8_t{});
    case DType::kInt8:
      return call(int8_t{});
    case DType::kFloat32:
      return call(float{});
    default:
      fail(ErrorCode::kUnsupported, "activations of type {} cannot be corrected",
           dtype_name(value.data.dtype()));
  }
}

}  // namespace

LayerGeometry geometry_of(const Graph& graph, NodeId layer) {
  const Node& node = graph.node(layer);
  const auto shape = [&](ValueId v) { return evaluate(*graph.value(v).shape); };
  const Shape x = shape(node.inputs[0]), w = shape(node.inputs[1]), y = shape(node.outputs[0]);
  LayerGeometry g;
  if (node.is("Conv")) {
    g.in_channels = x.at(1);
    g.out_channels = w.at(0);
    g.groups = node.attributes.get_int("group", 1);
    g.kernel = {w.at(2), w.at(3)};
    g.strides = node.attributes.get_ints("strides", {1, 1});
    g.dilations = node.attributes.get_ints("dilations", {1, 1});
    g.pads = resolved_pads(graph, node, g.kernel);
    g.batch = y.at(0);
    g.out_height = y.at(2);
    g.out_width = y.at(3);
    return g;
  }
  g.rows = true;
  g.in_channels = x.back();
  g.out_channels = y.back();
  g.out_height = 1;
  for (size_t d = 0; d + 1 < y.size(); ++d) g.out_height *= y[d];
  return g;
}

std::vector<int64_t> choose_positions(int64_t positions, int64_t count, int64_t sample) {
  count = std::min(count, positions);
  std::vector<int64_t> chosen(count);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t low = positions * i / count, high = positions * (i + 1) / count;
    const uint64_t random = mix(static_cast<uint64_t>(sample) * 0x100000001b3u + static_cast<uint64_t>(i));
    chosen[i] = low + static_cast<int64_t>(random % static_cast<uint64_t>(high - low));
  }
  return chosen;
}

void gather_columns(const LayerGeometry& g, const StoredValue& x, const QuantParams& params,
                    const std::vector<int64_t>& positions, float* out) {
  by_type(x, [&]<typename T>(T) { columns<T>(g, x, params, positions, out); });
}

void gather_outputs(const LayerGeometry& g, const StoredValue& value, const QuantParams& params,
                    const std::vector<int64_t>& positions, float* out, int64_t stride) {
  by_type(value, [&]<typename T>(T) { outputs<T>(g, value, params, positions, out, stride); });
}

}  // namespace octet
