#include "correct/layer_corrector.h"

#include <algorithm>
#include <cmath>

#include "correct/adaround.h"
#include "kernels/float/sgemm.h"

namespace octet {
namespace {

constexpr int64_t kMostRows = 20000;                // of all samples
constexpr int64_t kMostOutputs = int64_t{2} << 20;  // rows times output channels
constexpr double kMostGram = 1.5e10;                // rows times weights of an output channel squared
constexpr int64_t kChunkFloats = int64_t{4} << 20;  // of columns at a time
constexpr int64_t kTile = 256;
constexpr int64_t kWidest = 4096;       // weights of an output channel; GPTQ takes their number cubed
constexpr double kFourBitLambda = 0.1;  // weights of 4 bits have more to repair
constexpr int64_t kFewSamples = 10;     // below, nothing is held back
constexpr int64_t kHeldBack = 5;        // every fifth sample

QuantParams params_of(const Graph& g, const KeptValue& kept) {
  if (kept.dequantize == nullptr) return {};
  const auto constant = [&](size_t i) { return *g.value(kept.dequantize->inputs[i]).constant; };
  QuantParams params;
  params.scale = to_float(constant(1));
  if (kept.dequantize->inputs.size() > 2 && kept.dequantize->inputs[2] != kNoId)
    for (int64_t z : to_int64(constant(2))) params.zero_point.push_back(static_cast<int32_t>(z));
  else
    params.zero_point.assign(params.scale.size(), 0);
  return params;
}

// One way to round the weights, and what it does.
struct Candidate {
  std::string name;
  std::vector<int8_t> rounded;
  WeightGrid grid;
  LayerSums sums{};
  std::vector<float> shift{};
  double rounded_noise = 0, noise = 0;  // on the held-back samples, without and with the shift
};

class Corrector {
 public:
  Corrector(std::span<const LayerSite> sites, std::span<const SiteSample> samples,
            const SequentialOptions& options, LayerWeights weights, ThreadPool& pool)
      : sites_(sites),
        samples_(samples),
        pool_(pool),
        options_(options),
        weights_(std::move(weights)),
        g_(geometry_of(*sites[0].reference, sites[0].layer->group.root)),
        node_(sites[0].reference->node(sites[0].layer->group.root).name),
        input_params_(params_of(*sites[0].quantized, sites[0].layer->input)),
        residual_params_(params_of(*sites[0].quantized, sites[0].layer->residual)),
        function_{sites[0].layer->group.activation, sites[0].layer->group.final_clip,
                  sites[0].layer->group.caps} {
    for (const LayerSite& site : sites)
      geometries_.push_back(geometry_of(*site.reference, site.layer->group.root));
    const int64_t n = count();
    held_back_.assign(n, false);
    for (int64_t s = kHeldBack - 1; n >= kFewSamples && s < n; s += kHeldBack) held_back_[s] = true;
    training_ = held_back_;
    training_.flip();
    if (n < kFewSamples) held_back_.assign(n, true);
  }

  CorrectedLayer run() {
    choose_positions();
    const bool fitted =
        (options_.gptq || options_.adaround) && count() >= kFewSamples && g_.group_inputs() > 1;
    const bool gram = fitted && g_.group_inputs() <= kWidest;
    too_wide_ = fitted && !gram;
    first_pass(gram);
    std::vector<Candidate> candidates{{"nearest", weights_.rounded, weights_.grid}};
    if (gram) add_candidates(candidates);
    second_pass(candidates);
    return choose(candidates);
  }

 private:
  int64_t k() const { return g_.group_inputs(); }
  int64_t group_channels() const { return g_.out_channels / g_.groups; }
  bool four_bits() const { return weights_.grid.limit == 7; }
  ThreadPool& pool() { return pool_; }
  int64_t count() const { return static_cast<int64_t>(samples_.size()); }
  const LayerSite& site(int64_t sample) const { return sites_[samples_[sample].site]; }
  const LayerGeometry& geometry(int64_t sample) const { return geometries_[samples_[sample].site]; }
  StoredValue value(Side side, ValueId v, int64_t sample) const {
    return site(sample).networks->value(side, v, samples_[sample].index);
  }

  void choose_positions() {
    const int64_t samples = count();
    const double gram = static_cast<double>(k()) * static_cast<double>(k()) * static_cast<double>(g_.groups);
    const int64_t most = std::min(kMostRows, kMostOutputs / g_.out_channels);
    const auto rows = static_cast<int64_t>(std::min(static_cast<double>(most), kMostGram / gram));
    const auto shared = static_cast<int64_t>(options_.share_of_rows * static_cast<double>(rows));
    const int64_t each = std::max<int64_t>(1, shared / samples);
    reference_.channels = g_.out_channels;
    reference_.sample_rows = {0};
    for (int64_t s = 0; s < samples; ++s) {
      positions_.push_back(octet::choose_positions(geometry(s).positions(), each, s));
      reference_.sample_rows.push_back(reference_.sample_rows.back() +
                                       static_cast<int64_t>(positions_.back().size()));
    }
    chunk_ = std::clamp<int64_t>(kChunkFloats / std::max<int64_t>(1, each * g_.row_length()), 1, samples);
    chunk_ = std::min(samples, std::max<int64_t>(chunk_, pool().threads()));
  }

  // Calls body(first, last) for chunks of samples, between which columns can be dropped.
  template <typename Body>
  void for_chunks(const Body& body) {
    for (int64_t first = 0; first < count(); first += chunk_) body(first, std::min(count(), first + chunk_));
  }

  int64_t row(int64_t sample) const { return reference_.sample_rows[sample]; }

  void gather(Side side, int64_t sample, float* out) {
    const bool real = side == Side::kFloat;
    const LayerSite& at = site(sample);
    const ValueId input = real ? at.reference->node(at.layer->group.root).inputs[0] : at.layer->input.value;
    gather_columns(geometry(sample), value(side, input, sample), real ? QuantParams{} : input_params_,
                   positions_[sample], out);
  }

  void gather_residual(Side side, LayerSums& sums) {
    if (sites_[0].layer->group.residual == kNoId) return;
    sums.residual.resize(sums.rows() * sums.channels);
    const bool real = side == Side::kFloat;
    pool().parallel_for(count(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t s = begin; s < end; ++s) {
        const PairedLayer& layer = *site(s).layer;
        gather_outputs(geometry(s), value(side, real ? layer.group.residual : layer.residual.value, s),
                       real ? QuantParams{} : residual_params_, positions_[s], &sums.residual[row(s)],
                       sums.rows());
      }
    });
  }

  // sums[channel][row...] = weights * columns + bias of one sample.
  void multiply(const std::vector<float>& weights, const float* columns, int64_t sample, LayerSums& sums) {
    const int64_t rows = row(sample + 1) - row(sample), length = g_.row_length(), stride = sums.rows();
    float* out = &sums.sums[row(sample)];
    for (int64_t group = 0; group < g_.groups; ++group) {
      const int64_t first = group * group_channels();
      const float* x = columns + group * k();
      if (k() * group_channels() > 64) {
        kernels::sgemm(group_channels(), rows, k(), {&weights[first * k()], k()}, {x, length, true}, 0,
                       out + first * stride, stride);
        continue;
      }
      for (int64_t o = first; o < first + group_channels(); ++o)
        for (int64_t r = 0; r < rows; ++r) {
          float sum = 0;
          for (int64_t i = 0; i < k(); ++i) sum += weights[o * k() + i] * x[r * length + i];
          out[o * stride + r] = sum;
        }
    }
    for (int64_t o = 0; o < g_.out_channels; ++o)
      for (int64_t r = 0; r < rows; ++r) out[o * stride + r] += weights_.bias[o];
  }

  // The float layer's sums, and H and D of the training samples.
  void first_pass(bool gram) {
    reference_.sums.resize(reference_.rows() * g_.out_channels);
    gather_residual(Side::kFloat, reference_);
    const int64_t length = g_.row_length();
    if (gram) {
      h_.assign(g_.groups, std::vector<double>(k() * k(), 0));
      if (options_.refit) d_ = h_;
    }
    std::vector<float> x, seen;
    for_chunks([&](int64_t first, int64_t last) {
      // Training samples first, so that their rows lie together.
      std::vector<int64_t> place(last - first + 1, 0), order;
      for (int64_t s = first; s < last; ++s)
        if (training_[s]) order.push_back(s);
      const auto training = static_cast<int64_t>(order.size());
      for (int64_t s = first; s < last; ++s)
        if (!training_[s]) order.push_back(s);
      for (size_t i = 0; i < order.size(); ++i) place[i + 1] = place[i] + row(order[i] + 1) - row(order[i]);
      x.resize(place.back() * length);
      if (gram) seen.resize(place[training] * length);
      pool().parallel_for(last - first, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          float* columns = &x[place[i] * length];
          gather(Side::kFloat, order[i], columns);
          multiply(weights_.weights, columns, order[i], reference_);
          if (!gram || i >= training) continue;
          gather(Side::kQuantized, order[i], &seen[place[i] * length]);
          for (int64_t j = place[i] * length; j < place[i + 1] * length; ++j) x[j] -= seen[j];
        }
      });
      if (gram) add_gram(x.data(), seen.data(), place[training]);
    });
  }

  // H += x^ x^T, D += (x - x^) x^T over the rows, tile by tile.
  void add_gram(const float* lost, const float* seen, int64_t rows) {
    const int64_t n = k(), length = g_.row_length(), tiles = (n + kTile - 1) / kTile;
    pool().parallel_for(g_.groups * tiles * tiles, 1, [&](int64_t begin, int64_t end, int) {
      std::vector<float> product(std::min(n, kTile) * std::min(n, kTile));
      for (int64_t t = begin; t < end; ++t) {
        const int64_t group = t / (tiles * tiles), i = t / tiles % tiles * kTile, j = t % tiles * kTile;
        const int64_t height = std::min(kTile, n - i), width = std::min(kTile, n - j), at = group * n;
        const auto add = [&](const float* left, std::vector<double>& to) {
          kernels::sgemm(height, width, rows, {left + at + i, length, true}, {seen + at + j, length}, 0,
                         product.data(), width);
          for (int64_t a = 0; a < height; ++a)
            for (int64_t b = 0; b < width; ++b) to[(i + a) * n + j + b] += product[a * width + b];
        };
        add(seen, h_[group]);
        if (!d_.empty()) add(lost, d_[group]);
      }
    });
  }

  // The grid whose largest step count fits the weights, as insert_qdq would choose it. Steps that were raised
  // on purpose, and one for all channels, stay.
  WeightGrid grid_for(const std::vector<float>& weights) const {
    WeightGrid grid = weights_.grid;
    if (four_bits()) {
      choose_steps(weights, g_.out_channels, k(), grid);
      return grid;
    }
    if (static_cast<int64_t>(grid.step.size()) != g_.out_channels) return grid;
    const auto extreme = [&](const std::vector<float>& w, int64_t o) {
      double most = 0;
      for (int64_t i = 0; i < k(); ++i)
        most = std::max(most, std::abs(static_cast<double>(w[o * k() + i])) *
                                  (grid.divisor.empty() ? 1.0 : static_cast<double>(grid.divisor[i])));
      return most / grid.limit;
    };
    for (int64_t o = 0; o < g_.out_channels; ++o) {
      const double before = extreme(weights_.weights, o), now = extreme(weights, o);
      if (std::abs(grid.step[o] - before) > 1e-3 * before || !(now > 1e-30)) continue;
      grid.step[o] = static_cast<float>(now);
    }
    return grid;
  }

  // The part of the grid that the channels of a group have.
  WeightGrid part_of(const WeightGrid& grid, int64_t group) const {
    WeightGrid part = grid;
    if (static_cast<int64_t>(grid.step.size()) == g_.out_channels)
      part.step.assign(grid.step.begin() + group * group_channels(),
                       grid.step.begin() + (group + 1) * group_channels());
    return part;
  }

  void add_candidates(std::vector<Candidate>& candidates) {
    std::vector<float> refitted = weights_.weights;
    bool refit = !d_.empty();
    const int64_t size = group_channels() * k();
    const auto part = [&](const auto& all, int64_t group) {
      return std::decay_t<decltype(all)>(all.begin() + group * size, all.begin() + (group + 1) * size);
    };
    for (int64_t group = 0; refit && group < g_.groups; ++group) {
      const auto w = refit_weights(part(weights_.weights, group), group_channels(), k(), h_[group], d_[group],
                                   four_bits() ? kFourBitLambda : options_.refit_lambda, pool());
      if (!w.empty()) std::copy(w.begin(), w.end(), refitted.begin() + group * size);
    }
    d_.clear();
    const auto add = [&](const std::string& name, bool learned, const std::vector<float>& weights,
                         const WeightGrid& grid) {
      Candidate c{name, std::vector<int8_t>(weights.size()), grid};
      for (int64_t group = 0; group < g_.groups; ++group) {
        const std::vector<float> w = part(weights, group);
        WeightGrid steps = part_of(grid, group);
        const GptqOptions gptq{0.01, options_.act_order || four_bits()};
        auto q = learned ? round_adaptively(w, group_channels(), k(), h_[group], steps, {}, pool())
                 : four_bits()
                     ? round_gptq_and_steps(w, group_channels(), k(), h_[group], steps, gptq, pool())
                     : round_gptq(w, group_channels(), k(), h_[group], steps, gptq, pool());
        if (q.empty()) q = round_nearest(w, group_channels(), k(), steps);
        if (static_cast<int64_t>(grid.step.size()) == g_.out_channels)
          std::copy(steps.step.begin(), steps.step.end(), c.grid.step.begin() + group * group_channels());
        std::copy(q.begin(), q.end(), c.rounded.begin() + group * size);
      }
      candidates.push_back(std::move(c));
    };
    for (const bool learned : {false, true}) {
      if (learned ? !options_.adaround : !options_.gptq) continue;
      const std::string name = learned ? "adaround" : "gptq";
      add(name, learned, weights_.weights, weights_.grid);
      if (refit) add("refit+" + name, learned, refitted, grid_for(refitted));
    }
    h_.clear();
  }

  // The quantized layer's sums with each candidate's weights.
  void second_pass(std::vector<Candidate>& candidates) {
    std::vector<std::vector<float>> real;
    for (Candidate& c : candidates) {
      std::vector<float> w(c.rounded.size());
      for (int64_t o = 0; o < g_.out_channels; ++o)
        for (int64_t i = 0; i < k(); ++i)
          w[o * k() + i] = static_cast<float>(c.rounded[o * k() + i] * c.grid.step_of(o, i));
      real.push_back(std::move(w));
      c.sums.channels = g_.out_channels;
      c.sums.sample_rows = reference_.sample_rows;
      c.sums.sums.resize(reference_.sums.size());
    }
    gather_residual(Side::kQuantized, candidates[0].sums);
    for (size_t i = 1; i < candidates.size(); ++i) candidates[i].sums.residual = candidates[0].sums.residual;
    size_t most = 0;
    for (const auto& positions : positions_) most = std::max(most, positions.size());
    most *= static_cast<size_t>(g_.row_length());
    std::vector<std::vector<float>> columns(pool().threads(), std::vector<float>(most));
    pool().parallel_for(count(), 1, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t s = begin; s < end; ++s) {
        gather(Side::kQuantized, s, columns[worker].data());
        for (size_t i = 0; i < candidates.size(); ++i)
          multiply(real[i], columns[worker].data(), s, candidates[i].sums);
      }
    });
  }

  CorrectedLayer choose(std::vector<Candidate>& candidates) {
    const bool bias = options_.bias && weights_.has_bias;
    double signal = 0;
    const auto error = [&](const Candidate& c, const std::vector<float>& shift) {
      const OutputError e = output_error(reference_, c.sums, function_, shift, held_back_, pool());
      signal = e.signal;
      return e.noise;
    };
    for (Candidate& c : candidates) {
      c.rounded_noise = c.noise = error(c, {});
      if (!bias) continue;
      c.shift = match_output_means(reference_, c.sums, function_, training_, pool());
      c.noise = error(c, c.shift);
    }
    // The last candidate is the one that is expected to be best.
    size_t best = candidates.size() - 1;
    const auto score = [](const Candidate& c) { return std::min(c.noise, c.rounded_noise); };
    for (size_t i = 0; i < candidates.size(); ++i)
      if (score(candidates[i]) < score(candidates[best])) best = i;
    Candidate& chosen = candidates[best];
    LayerCorrection result;
    result.node = node_;
    result.rounding = chosen.name;
    result.bias = bias && chosen.noise <= chosen.rounded_noise;
    result.too_wide = too_wide_;
    result.undone = best + 1 != candidates.size() || (bias && !result.bias);
    const auto db = [&](double noise) {
      return noise > 0 && signal > 0 ? 10 * std::log10(signal / noise) : 200.0;
    };
    result.before_db = db(candidates[0].rounded_noise);
    result.rounded_db = db(chosen.rounded_noise);
    result.after_db = db(result.bias ? chosen.noise : chosen.rounded_noise);
    if (result.bias)  // from all samples
      chosen.shift =
          match_output_means(reference_, chosen.sums, function_, std::vector<bool>(count(), true), pool());
    if (best == 0 && !result.bias) return {std::move(result), {}};
    weights_.rounded = chosen.rounded;
    weights_.grid = chosen.grid;
    for (int64_t o = 0; result.bias && o < g_.out_channels; ++o) weights_.bias[o] += chosen.shift[o];
    return {std::move(result), std::move(weights_)};
  }

  const std::span<const LayerSite> sites_;
  const std::span<const SiteSample> samples_;
  ThreadPool& pool_;
  const SequentialOptions& options_;
  LayerWeights weights_;
  const LayerGeometry g_;                  // of the first site: the weights' part is the same at all
  std::vector<LayerGeometry> geometries_;  // of each
  const std::string node_;
  const QuantParams input_params_, residual_params_;
  const OutputFunction function_;
  std::vector<bool> held_back_, training_;  // samples; with few of them all are both
  std::vector<std::vector<int64_t>> positions_;
  int64_t chunk_ = 1;
  bool too_wide_ = false;
  LayerSums reference_;
  std::vector<std::vector<double>> h_, d_;  // per group
};

}  // namespace

std::optional<CorrectedLayer> correct_layer(std::span<const LayerSite> sites,
                                            std::span<const SiteSample> samples,
                                            const SequentialOptions& options, ThreadPool& pool) {
  const LayerSite& first = sites[0];
  auto weights = read_layer(*first.reference, first.layer->group, *first.quantized, first.layer->quantized);
  if (!weights) return {};
  return Corrector(sites, samples, options, std::move(*weights), pool).run();
}

}  // namespace octet
