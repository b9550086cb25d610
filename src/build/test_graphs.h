// Shared by tests: random small networks, a plain interpreter for graphs, quantization with ranges that it
// found.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "graph/graph.h"
#include "kernels/simd/test_tools.h"
#include "ops/op_def.h"
#include "passes/canonicalize.h"
#include "passes/channel_groups.h"
#include "passes/quantize.h"

namespace octet::testing {

using kernels::testing::Random;
using kernels::testing::test_seed;

// Of random networks; each takes the time of many random cases of a kernel, which OCTET_TEST_CASES counts.
inline int64_t test_networks(int64_t quick) {
  return std::max(quick, kernels::testing::test_cases(0) / 50);
}

inline Tensor random_floats(Random& random, Shape shape, float low, float high) {
  Tensor t(DType::kFloat32, std::move(shape));
  for (float& v : t.as<float>()) v = random.real(low, high);
  return t;
}

inline Tensor ints(std::vector<int64_t> values) {
  return Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, std::span<const int64_t>(values));
}

// Builds networks node by node; keeps the concrete shape of every value.
class NetworkMaker {
 public:
  struct Val {
    ValueId id = kNoId;
    Shape shape;
  };
  using Ints = std::vector<int64_t>;

  explicit NetworkMaker(Random& random) : random_(random) {}

  Graph graph;

  // `symbolic`: the batch is the dimension N.
  Val input(Shape shape, bool symbolic = false) {
    Dims dims(shape.begin(), shape.end());
    if (symbolic) dims[0] = Dim::symbol("N");
    return {graph.add_input("x", DType::kFloat32, std::move(dims)), std::move(shape)};
  }
  Val op(const std::string& name, const std::vector<ValueId>& in, Shape shape, Attributes attributes = {}) {
    return {graph.add_op(name, name, in, name + "_out", std::move(attributes)), std::move(shape)};
  }
  ValueId constant(Tensor t) { return graph.add_constant("c", std::move(t)); }
  ValueId scalar(float v) { return constant(Tensor::scalar<float>(v)); }

  struct ConvOptions {
    int64_t out_c = 8, kernel_h = 3, kernel_w = 3, stride = 1, dilation = 1, pad = 1, group = 1;
    bool bias = true;
  };
  Val conv(const Val& x, const ConvOptions& o) {
    const int64_t in_group = x.shape[1] / o.group;
    const float scale = 1.5f / std::sqrt(static_cast<float>(in_group * o.kernel_h * o.kernel_w));
    std::vector<ValueId> in{
        x.id, constant(random_floats(random_, {o.out_c, in_group, o.kernel_h, o.kernel_w}, -scale, scale))};
    if (o.bias) in.push_back(constant(random_floats(random_, {o.out_c}, -0.5f, 0.5f)));
    Attributes a;
    a.set("kernel_shape", Ints{o.kernel_h, o.kernel_w});
    a.set("strides", Ints{o.stride, o.stride});
    a.set("dilations", Ints{o.dilation, o.dilation});
    a.set("pads", Ints{o.pad, o.pad, o.pad, o.pad});
    a.set("group", o.group);
    return op("Conv", in,
              {x.shape[0], o.out_c, side(x.shape[2], o.kernel_h, o.stride, o.dilation, o.pad),
               side(x.shape[3], o.kernel_w, o.stride, o.dilation, o.pad)},
              std::move(a));
  }
  Val batch_norm(const Val& x) {
    const Shape c{x.shape[1]};
    return op(
        "BatchNormalization",
        {x.id, constant(random_floats(random_, c, 0.5f, 1.5f)),
         constant(random_floats(random_, c, -0.3f, 0.3f)), constant(random_floats(random_, c, -0.3f, 0.3f)),
         constant(random_floats(random_, c, 0.5f, 1.5f))},
        x.shape);
  }
  Val pool(const std::string& kind, const Val& x, int64_t kernel, int64_t stride, int64_t pad) {
    Attributes a;
    a.set("kernel_shape", Ints{kernel, kernel});
    a.set("strides", Ints{stride, stride});
    a.set("pads", Ints{pad, pad, pad, pad});
    return op(kind, {x.id},
              {x.shape[0], x.shape[1], side(x.shape[2], kernel, stride, 1, pad),
               side(x.shape[3], kernel, stride, 1, pad)},
              std::move(a));
  }
  Val global_pool(const Val& x) { return op("GlobalAveragePool", {x.id}, {x.shape[0], x.shape[1], 1, 1}); }
  Val resize(const Val& x, bool linear, int64_t factor) {
    Attributes a;
    a.set("mode", std::string(linear ? "linear" : "nearest"));
    a.set("coordinate_transformation_mode", std::string(linear ? "half_pixel" : "asymmetric"));
    a.set("nearest_mode", std::string("floor"));
    const auto f = static_cast<float>(factor);
    return op("Resize", {x.id, kNoId, constant(Tensor::of<float>({4}, {1, 1, f, f}))},
              {x.shape[0], x.shape[1], x.shape[2] * factor, x.shape[3] * factor}, std::move(a));
  }
  // Around images, or of what is there; in each way that keeps 8-bit values.
  Val pad(const Val& x) {
    static constexpr const char* kModes[] = {"constant", "edge", "reflect", "wrap"};
    Ints pads(8, 0);
    Shape shape = x.shape;
    for (size_t d = 2; d < 4; ++d) {
      pads[d] = random_.range(shape[d] > 3 ? -1 : 0, 3);
      pads[d + 4] = random_.range(0, 5);
      shape[d] += pads[d] + pads[d + 4];
    }
    Attributes a;
    a.set("mode", std::string(kModes[random_.range(0, 3)]));
    return op("Pad", {x.id, constant(ints(pads))}, shape, std::move(a));
  }
  Val depth_to_space(const Val& x, int64_t block) {
    Attributes a;
    a.set("blocksize", block);
    a.set("mode", std::string(random_.chance(0.5) ? "DCR" : "CRD"));
    return op("DepthToSpace", {x.id},
              {x.shape[0], x.shape[1] / (block * block), x.shape[2] * block, x.shape[3] * block},
              std::move(a));
  }
  Val transposed_conv(const Val& x) {
    const int64_t kernel = random_.range(2, 4);
    const int64_t group = x.shape[1] % 2 == 0 && random_.chance(0.3) ? 2 : 1;
    return transposed_conv(x, kernel, random_.range(1, 12), group);
  }
  Val transposed_conv(const Val& x, int64_t kernel, int64_t of_group, int64_t group = 1) {
    const int64_t pad = random_.range(0, kernel / 2);
    const float scale = 1.5f / std::sqrt(static_cast<float>(x.shape[1] / group * kernel));
    Attributes a;
    a.set("kernel_shape", Ints{kernel, kernel});
    a.set("strides", Ints{2, 2});
    a.set("pads", Ints(4, pad));
    a.set("group", group);
    const auto size = [&](int64_t in) { return (in - 1) * 2 + kernel - 2 * pad; };
    if (size(x.shape[2]) < 1 || size(x.shape[3]) < 1) return random_conv(x);
    const Val y =
        op("ConvTranspose",
           {x.id, constant(random_floats(random_, {x.shape[1], of_group, kernel, kernel}, -scale, scale)),
            constant(random_floats(random_, {of_group * group}, -0.5f, 0.5f))},
           {x.shape[0], of_group * group, size(x.shape[2]), size(x.shape[3])}, std::move(a));
    return random_.chance(0.5) ? activation(y) : y;
  }
  Val concat(const std::vector<Val>& parts) {
    std::vector<ValueId> in;
    Shape shape = parts[0].shape;
    shape[1] = 0;
    for (const Val& p : parts) {
      in.push_back(p.id);
      shape[1] += p.shape[1];
    }
    Attributes a;
    a.set("axis", int64_t{1});
    return op("Concat", in, shape, std::move(a));
  }
  Val flatten(const Val& x) {
    Attributes a;
    a.set("axis", int64_t{1});
    return op("Flatten", {x.id}, {x.shape[0], x.shape[1] * x.shape[2] * x.shape[3]}, std::move(a));
  }
  Val gemm(const Val& x, int64_t out) {
    Attributes a;
    const bool transposed = random_.chance(0.7);
    a.set("transB", int64_t{transposed});
    const float scale = 1.5f / std::sqrt(static_cast<float>(x.shape[1]));
    const Shape w = transposed ? Shape{out, x.shape[1]} : Shape{x.shape[1], out};
    return op("Gemm",
              {x.id, constant(random_floats(random_, w, -scale, scale)),
               constant(random_floats(random_, {out}, -0.3f, 0.3f))},
              {x.shape[0], out}, std::move(a));
  }
  Val conv_1x1(const Val& x, int64_t out_c) {
    ConvOptions o;
    o.kernel_h = o.kernel_w = 1;
    o.pad = 0;
    o.out_c = out_c;
    return conv(x, o);
  }
  Val reshape(const Val& x, Shape shape) { return op("Reshape", {x.id, constant(ints(shape))}, shape); }
  Val join(const std::vector<Val>& parts, size_t axis) {
    std::vector<ValueId> in;
    Shape shape = parts[0].shape;
    shape[axis] = 0;
    for (const Val& p : parts) {
      in.push_back(p.id);
      shape[axis] += p.shape[axis];
    }
    Attributes a;
    a.set("axis", static_cast<int64_t>(axis));
    return op("Concat", in, shape, std::move(a));
  }
  Val activation(const Val& x) {
    switch (random_.range(0, 7)) {
      case 0:
        return op("Relu", {x.id}, x.shape);
      case 1:
        return op("Clip", {x.id, scalar(0), scalar(random_.chance(0.5) ? 6.0f : 0.8f)}, x.shape);
      case 2: {
        Attributes a;
        a.set("alpha", 0.1f);
        return op("LeakyRelu", {x.id}, x.shape, std::move(a));
      }
      case 3:
        return op("Sigmoid", {x.id}, x.shape);
      case 4:
        return op("Mul", {x.id, op("Sigmoid", {x.id}, x.shape).id}, x.shape);
      case 5:
        return op("HardSwish", {x.id}, x.shape);
      case 6:
        return op("Relu", {x.id}, x.shape);
      default:
        return op("Tanh", {x.id}, x.shape);
    }
  }

  // A network of about `nodes` layers; the first is a convolution.
  void random_network(int64_t nodes, bool symbolic = false) {
    const int64_t n = random_.chance(0.3) ? 2 : 1, h = random_.range(5, 14), w = random_.range(5, 14);
    std::vector<Val> values{
        random_conv(input({n, random_.chance(0.5) ? 3 : random_.range(1, 20), h, w}, symbolic))};
    for (int64_t i = 0; i < nodes; ++i) values.push_back(random_layer(values));
    if (!symbolic && random_.chance(0.3)) {
      graph.mark_output(random_head(values).id);
    } else if (random_.chance(0.4)) {
      Val y = gemm(flatten(global_pool(values.back())), random_.range(2, 40));
      if (random_.chance(0.3)) y = activation(y);
      if (random_.chance(0.3)) y = op("Softmax", {y.id}, y.shape);
      graph.mark_output(y.id);
    } else {
      graph.mark_output(values.back().id);
    }
    if (values.size() > 2 && random_.chance(0.2)) {
      const Val& extra = values[values.size() / 2];
      if (!graph.is_output(extra.id)) graph.mark_output(extra.id);
    }
    graph.prune();
    infer_shapes(graph);
    verify(graph);
  }

 private:
  static int64_t side(int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad) {
    return (in + 2 * pad - (kernel - 1) * dilation - 1) / stride + 1;
  }

  Val random_conv(const Val& x) {
    ConvOptions o;
    const int64_t small = std::min(x.shape[2], x.shape[3]);
    o.kernel_h = o.kernel_w = small >= 3 ? std::vector<int64_t>{1, 3, 3, 5}[random_.bits() % 4] : 1;
    if (o.kernel_h == 3 && random_.chance(0.1)) o.kernel_h = 1;
    o.dilation = o.kernel_w == 3 && random_.chance(0.15) ? 2 : 1;
    o.pad = o.kernel_h == 1 ? 0 : o.kernel_w / 2 * o.dilation;
    if (o.kernel_h != o.kernel_w && x.shape[3] < 3) o.kernel_w = 1;
    if (side(x.shape[3], o.kernel_w, 1, o.dilation, o.pad) < 1 ||
        side(x.shape[2], o.kernel_h, 1, o.dilation, o.pad) < 1)
      o.kernel_h = o.kernel_w = o.dilation = 1, o.pad = 0;
    o.stride = random_.chance(0.25) ? 2 : 1;
    o.bias = random_.chance(0.7);
    if (random_.chance(0.35)) {
      o.group = o.out_c = x.shape[1];
      if (random_.chance(0.2)) o.out_c *= random_.range(2, 3);
    } else if (x.shape[1] % 2 == 0 && random_.chance(0.15)) {
      o.group = 2;
      o.out_c = 2 * random_.range(1, 12);
    } else {
      o.out_c = random_.chance(0.5) ? 4 * random_.range(1, 10) : random_.range(1, 70);
    }
    Val y = conv(x, o);
    if (random_.chance(0.3)) y = batch_norm(y);
    return random_.chance(0.7) ? activation(y) : y;
  }

  Val random_layer(const std::vector<Val>& values) {
    const Val& x = values[random_.chance(0.7) ? values.size() - 1 : random_.bits() % values.size()];
    const auto alike = [&](auto&& fits) {
      std::vector<const Val*> found;
      for (const Val& v : values)
        if (fits(v)) found.push_back(&v);
      return found.empty() ? nullptr : found[random_.bits() % found.size()];
    };
    switch (random_.range(0, 11)) {
      case 0:
      case 1: {  // residual
        const Val* other = alike([&](const Val& v) { return v.shape == x.shape; });
        const Val y = op("Add", {x.id, other->id}, x.shape);
        return random_.chance(0.5) ? op("Relu", {y.id}, y.shape) : y;
      }
      case 2: {
        const Val* other = alike([&](const Val& v) {
          return v.shape[0] == x.shape[0] && v.shape[2] == x.shape[2] && v.shape[3] == x.shape[3];
        });
        return concat(random_.chance(0.5) ? std::vector<Val>{x, *other} : std::vector<Val>{*other, x, x});
      }
      case 3:
        return std::min(x.shape[2], x.shape[3]) >= 3 ? pool("MaxPool", x, 3, random_.range(1, 2), 1)
                                                     : random_conv(x);
      case 4:
        return std::min(x.shape[2], x.shape[3]) >= 2 ? pool("AveragePool", x, 2, 2, 0) : random_conv(x);
      case 5:
        if (x.shape[2] * x.shape[3] > 100) return random_conv(x);
        if (x.shape[1] % 4 == 0 && random_.chance(0.3)) return depth_to_space(x, 2);
        if (random_.chance(0.3)) return pad(x);
        return random_.chance(0.5) ? transposed_conv(x) : resize(x, random_.chance(0.4), 2);
      case 6: {  // squeeze and excite
        const Val gate = op("Sigmoid", {random_conv_1x1(global_pool(x)).id}, {x.shape[0], x.shape[1], 1, 1});
        return op("Mul", {x.id, gate.id}, x.shape);
      }
      case 7:
        return activation(x);
      default:
        return random_conv(x);
    }
  }

  Val random_conv_1x1(const Val& x) { return conv_1x1(x, x.shape[1]); }
  // What detectors do with some layers' results: predictions of all places side by side, as planes or as
  // rows.
  Val random_head(const std::vector<Val>& values) {
    const bool rows = random_.chance(0.4);
    const int64_t c = random_.range(1, 20), d = random_.range(1, 20);
    std::vector<Val> scales;
    for (int64_t i = random_.range(1, 3); i > 0; --i) {
      const Val& x = values[random_.bits() % values.size()];
      const int64_t n = x.shape[0], pixels = x.shape[2] * x.shape[3];
      if (!scales.empty() && scales[0].shape[0] != n) continue;
      const auto layer = [&](int64_t out_c) {
        const Val y = random_.chance(0.8) ? conv_1x1(x, out_c) : conv(x, {.out_c = out_c});
        return random_.chance(0.3) ? activation(y) : y;
      };
      const Val both = random_.chance(0.6) ? concat({layer(c), layer(d)}) : layer(c + d);
      if (rows) {
        Attributes a;
        a.set("perm", Ints{0, 2, 3, 1});
        const Val last = op("Transpose", {both.id}, {n, x.shape[2], x.shape[3], c + d}, std::move(a));
        scales.push_back(reshape(last, {n, pixels, c + d}));
      } else {
        scales.push_back(reshape(both, {n, c + d, pixels}));
      }
      if (random_.chance(0.1)) graph.mark_output(scales.back().id);
    }
    const size_t channels = rows ? 2 : 1;
    if (random_.chance(0.1)) {
      Shape shape = scales[0].shape;
      shape[3 - channels] = random_.range(1, 70);
      scales.push_back({constant(random_floats(random_, shape, -1, 1)), shape});
    }
    const Val all = join(scales, 3 - channels);
    if (random_.chance(0.2)) return all;
    Attributes a;
    a.set("axis", static_cast<int64_t>(channels));
    Shape first = all.shape, second = all.shape;
    first[channels] = c;
    second[channels] = d;
    const Val left{graph.add_value("left"), first}, right{graph.add_value("right"), second};
    graph.add_node("Split", "", "Split", {all.id, constant(ints({c, d}))}, {left.id, right.id}, std::move(a));
    const Val scores = op(random_.chance(0.5) ? "Sigmoid" : "Softmax", {right.id}, second);
    return join(random_.chance(0.5) ? std::vector<Val>{left, scores} : std::vector<Val>{scores, left},
                channels);
  }

  Random& random_;
};

// Every value of a graph by the operators' plain functions. `replace` sees each value that was computed and
// may put another in its place.
using Replace = std::function<void(const Value&, Tensor&)>;
inline std::map<ValueId, Tensor> interpret(const Graph& graph, const std::vector<Tensor>& inputs,
                                           const Replace& replace = {}, const SymbolValues& symbols = {}) {
  std::map<ValueId, Tensor> values;
  for (size_t i = 0; i < inputs.size(); ++i) values[graph.inputs()[i]] = inputs[i];
  for (NodeId id : graph.sorted()) {
    const Node& node = graph.node(id);
    std::vector<Tensor> in, out;
    for (ValueId v : node.inputs) {
      if (v == kNoId)
        in.emplace_back();
      else
        in.push_back(graph.is_constant(v) ? *graph.value(v).constant : values.at(v));
    }
    for (ValueId v : node.outputs) {
      const Value& value = graph.value(v);
      out.emplace_back(*value.dtype, evaluate(*value.shape, symbols));
    }
    find_op(node.op, node.domain)->run(node.attributes, in, out);
    for (size_t i = 0; i < out.size(); ++i) {
      if (replace) replace(graph.value(node.outputs[i]), out[i]);
      values[node.outputs[i]] = out[i];
    }
  }
  return values;
}

struct QuantizedNetwork {
  Graph graph;
  Placement placement;
  std::vector<QuantizedLayer> layers;
};

// Gives some scale groups random scales and zero-points per channel.
inline void scatter_channels(const Graph& graph, const Placement& placement, const QuantizeOptions& options,
                             Random& random, ActivationParams& params) {
  const auto groups = channel_groups(graph, placement, options);
  for (const auto& group : groups) {
    if (!group || random.chance(0.3)) continue;
    const QuantParams whole = params.at(group->of.begin()->first);
    const IntLimits limits = int_limits(whole.dtype);
    std::vector<float> scale;
    std::vector<int32_t> zero;
    const bool zeros = random.chance(0.6);
    for (int64_t s = 0; s < group->slots; ++s) {
      scale.push_back(whole.scale[0] * random.real(0.2f, 1.3f));
      const auto z = static_cast<int32_t>(whole.zero_point[0] + (zeros ? random.range(-60, 60) : 0));
      zero.push_back(std::clamp(z, limits.low, limits.high));
    }
    for (const auto& [value, slots] : group->of) {
      QuantParams q{whole.dtype, 1, {}, {}};
      for (int64_t s : slots) {
        q.scale.push_back(scale[s]);
        q.zero_point.push_back(zero[s]);
      }
      params[value] = std::move(q);
    }
  }
}

// Min-max ranges of one input's values; `graph` becomes canonical. With `channels`, some activations get a
// scale per channel.
inline QuantizedNetwork quantize(Graph graph, const std::vector<Tensor>& inputs,
                                 const QuantizeOptions& options = {}, const SymbolValues& symbols = {},
                                 Random* channels = nullptr) {
  canonicalize(graph);
  std::map<std::string, Range, std::less<>> ranges;
  const auto note = [&](const Value& value, const Tensor& t) {
    if (t.dtype() != DType::kFloat32 || t.count() == 0) return;
    const auto v = t.as<float>();
    ranges[value.name] = {*std::min_element(v.begin(), v.end()), *std::max_element(v.begin(), v.end())};
  };
  for (size_t i = 0; i < inputs.size(); ++i) note(graph.value(graph.inputs()[i]), inputs[i]);
  interpret(
      graph, inputs, [&](const Value& value, Tensor& t) { note(value, t); }, symbols);
  QuantizedNetwork q{graph, place(graph, options), {}};
  ActivationParams params =
      tensor_params(q.graph, q.placement, options, [&](const std::string& name) -> std::optional<Range> {
        const auto found = ranges.find(name);
        return found == ranges.end() ? std::nullopt : std::optional(found->second);
      });
  if (channels != nullptr) scatter_channels(q.graph, q.placement, options, *channels, params);
  q.layers = insert_qdq(q.graph, q.placement, options, params);
  infer_shapes(q.graph);
  // As build sees it: an interpreter that rounds elsewhere would meet other ties.
  while (quantize_before_concat(q.graph)) infer_shapes(q.graph);
  return q;
}

// The elements of what an engine's step wrote, in ONNX's order.
template <typename T>
std::vector<T> plain_elements(const engine::Observation& o) {
  const Shape& s = *o.shape;
  int64_t count = 1;
  for (int64_t d : s) count *= d;
  std::vector<T> out(static_cast<size_t>(count));
  const T* data = static_cast<const T*>(o.data);
  if (o.def->layout == Layout::kPlain) {
    std::copy_n(data, count, out.data());
    return out;
  }
  const int64_t channels = s[1], pixels = s[2] * s[3];
  for (int64_t n = 0; n < s[0]; ++n)
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t p = 0; p < pixels; ++p)
        out[static_cast<size_t>((n * channels + c) * pixels + p)] =
            data[(n * pixels + p) * o.pixel_stride + c];
  return out;
}

}  // namespace octet::testing
