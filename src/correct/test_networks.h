// Shared by tests of corrections that run networks side by side: data, a network that loses much in 8 bits,
// and its quantized form.
#pragma once

#include <algorithm>

#include "build/build.h"
#include "build/test_graphs.h"
#include "correct/layer_data.h"
#include "data/dataset.h"

namespace octet::testing {

class FixedData : public Dataset {
 public:
  explicit FixedData(std::vector<Tensor> samples) : samples_(std::move(samples)) {}
  int64_t size() const override { return static_cast<int64_t>(samples_.size()); }
  const std::string& name(int64_t) const override { return name_; }
  bool images() const override { return false; }
  Sample load(int64_t i) const override { return {{{"x", samples_[i]}}}; }
  uint64_t content_hash() const override { return 0; }

 private:
  std::vector<Tensor> samples_;
  std::string name_ = "sample";
};

inline FixedData data_for(const Graph& graph, Random& random, int64_t count, float low, float high) {
  std::vector<Tensor> samples;
  for (int64_t i = 0; i < count; ++i)
    samples.push_back(random_floats(random, evaluate(*graph.value(graph.inputs()[0]).shape), low, high));
  return FixedData(std::move(samples));
}

// Three layers whose weights lose much in 8 bits: one large weight per channel sets the step.
inline Graph coarse_network(Random& random) {
  NetworkMaker m(random);
  auto x = m.input({1, 6, 12, 12});
  for (int i = 0; i < 3; ++i) {
    NetworkMaker::ConvOptions o;
    o.out_c = i == 2 ? 10 : 12;
    o.group = i == 1 ? 2 : 1;
    x = m.conv(x, o);
    Tensor w = m.graph.value(m.graph.node(m.graph.value(x.id).producer).inputs[1]).constant->clone();
    const int64_t per_channel = w.count() / w.shape()[0];
    for (int64_t c = 0; c < w.shape()[0]; ++c) w.as<float>()[c * per_channel] *= 12;
    m.graph.value(m.graph.node(m.graph.value(x.id).producer).inputs[1]).constant = w;
    if (i < 2) x = m.op("Relu", {x.id}, x.shape);
  }
  m.graph.mark_output(x.id);
  infer_shapes(m.graph);
  canonicalize(m.graph);
  return m.graph;
}

struct Prepared {
  Graph reference, quantized;
};

inline Prepared prepare(Random& random, const FixedData& data, const Graph& graph) {
  (void)random;
  std::map<std::string, Range, std::less<>> ranges;
  Graph with_biases = graph;
  for (int64_t i = 0; i < data.size(); ++i) {
    const Tensor input = data.load(i).inputs.begin()->second;
    for (const auto& [v, t] : interpret(graph, {input})) {
      if (t.dtype() != DType::kFloat32) continue;
      Range& r = ranges[graph.value(v).name];
      for (float f : t.as<float>()) r = {std::min(r.low, f), std::max(r.high, f)};
    }
    Range& r = ranges["x"];
    for (float f : input.as<float>()) r = {std::min(r.low, f), std::max(r.high, f)};
  }
  const QuantizeOptions options;
  const Placement placement = place(with_biases, options);
  add_zero_biases(with_biases, placement.weighted);
  Prepared p{graph, with_biases};
  insert_qdq(p.quantized, placement, options, [&](const std::string& name) -> std::optional<Range> {
    const auto found = ranges.find(name);
    return found == ranges.end() ? std::nullopt : std::optional(found->second);
  });
  return p;
}

inline double noise(const Prepared& p, const FixedData& data) {
  const engine::Engine a(build_engine(p.reference)), b(build_engine(p.quantized));
  engine::Context x(a, engine::default_options()), y(b, engine::default_options());
  double sum = 0;
  for (int64_t i = 0; i < data.size(); ++i) {
    const std::vector<Tensor> input{data.load(i).inputs.begin()->second};
    x.run(input);
    y.run(input);
    const auto u = x.output(0).as<float>(), v = y.output(0).as<float>();
    for (size_t j = 0; j < u.size(); ++j) sum += (double{u[j]} - v[j]) * (double{u[j]} - v[j]);
  }
  return sum;
}

inline std::vector<Tensor> constants(const Graph& graph) {
  std::vector<Tensor> all;
  for (ValueId v = 0; v < graph.value_slots(); ++v)
    if (graph.is_constant(v)) all.push_back(*graph.value(v).constant);
  return all;
}

}  // namespace octet::testing
