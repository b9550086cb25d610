#include "correct/block_learning.h"

#include <algorithm>
#include <cmath>

namespace octet {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr double kTrust = 0.6;  // above a half: a weight begins as the integer that it was
constexpr float kMomentum = 0.9f, kMemory = 0.999f;  // of Adam
constexpr float kMostStep = 0.2f;                    // |s|
constexpr float kMostGrid = 0.5f, kMostShift = 16;   // of activations
constexpr int64_t kPieces = 4;     // of a batch, each with gradients of its own: threads change nothing
constexpr int64_t kRowGrain = 64;  // output channels

// Adam (Kingma and Ba, 2015) for one array of variables.
class Adam {
 public:
  explicit Adam(size_t size) : mean_(size), square_(size) {}
  // What to subtract from variable i.
  float step(size_t i, float gradient, float rate) {
    mean_[i] = kMomentum * mean_[i] + (1 - kMomentum) * gradient;
    square_[i] = kMemory * square_[i] + (1 - kMemory) * gradient * gradient;
    return rate * mean_[i] / (std::sqrt(square_[i]) + 1e-12f);
  }

 private:
  std::vector<float> mean_, square_;
};

struct Rates {
  float place = 0, step = 0, bias = 0, grid = 0, zero = 0;  // with Adam's correction of its first steps
};

// The variables of a layer.
class Learned {
 public:
  explicit Learned(const LayerWeights& layer, std::vector<float> bias_units)
      : layer_(layer),
        k_(layer.length),
        lower_(layer.weights.size()),
        place_(layer.weights.size()),
        factor_(layer.channels, 0),
        bias_(layer.bias),
        unit_(std::move(bias_units)),
        adam_place_(place_.size()),
        adam_factor_(factor_.size()),
        adam_bias_(bias_.size()),
        learns_steps_(static_cast<int64_t>(layer.grid.step.size()) == layer.channels) {
    const int limit = layer.grid.limit;
    for (int64_t o = 0; o < layer.channels; ++o)
      for (int64_t i = 0; i < k_; ++i) {
        const int64_t at = o * k_ + i;
        const double exact = layer.weights[at] / layer.grid.step_of(o, i);
        const int8_t q = layer.rounded[at];
        lower_[at] = static_cast<int8_t>(std::clamp(exact >= q ? q : q - 1, -limit, limit - 1));
        place_[at] = static_cast<float>(kTrust * (q - lower_[at]) +
                                        (1 - kTrust) * std::clamp(exact - lower_[at], 0.0, 1.0));
      }
  }

  void write(LayerFloats& to, ThreadPool& pool) const {
    to.weights.resize(place_.size());
    to.bias = bias_;
    for_rows(pool, [&](int64_t o) {
      const float factor = std::exp(factor_[o]);
      for (int64_t i = 0; i < k_; ++i)
        to.weights[o * k_ + i] =
            static_cast<float>(integer(o * k_ + i)) * static_cast<float>(layer_.grid.step_of(o, i)) * factor;
    });
  }

  // One step of Adam against the sum of the pieces' gradients.
  void move(const std::vector<const LayerFloats*>& pieces, const Rates& rates, ThreadPool& pool) {
    for_rows(pool, [&](int64_t o) {
      const float factor = std::exp(factor_[o]);
      float of_factor = 0, of_bias = 0;
      for (int64_t i = 0; i < k_; ++i) {
        const int64_t at = o * k_ + i;
        float slope = 0;
        for (const LayerFloats* piece : pieces) slope += piece->weights[at];
        const float of_integer = slope * static_cast<float>(layer_.grid.step_of(o, i)) * factor;
        of_factor += of_integer * static_cast<float>(integer(at));
        place_[at] = std::clamp(place_[at] - adam_place_.step(at, of_integer, rates.place), 0.0f, 1.0f);
      }
      for (const LayerFloats* piece : pieces) of_bias += piece->bias[o];
      if (learns_steps_)
        factor_[o] =
            std::clamp(factor_[o] - adam_factor_.step(o, of_factor, rates.step), -kMostStep, kMostStep);
      if (layer_.has_bias) bias_[o] -= unit_[o] * adam_bias_.step(o, of_bias * unit_[o], rates.bias);
    });
  }

  // Number of weights that changed.
  int64_t finish(LayerWeights& layer) const {
    int64_t flipped = 0;
    for (size_t at = 0; at < place_.size(); ++at) {
      const auto q = static_cast<int8_t>(integer(static_cast<int64_t>(at)));
      flipped += q != layer.rounded[at];
      layer.rounded[at] = q;
    }
    for (int64_t o = 0; learns_steps_ && o < layer.channels; ++o) layer.grid.step[o] *= std::exp(factor_[o]);
    layer.bias = bias_;
    return flipped;
  }

 private:
  int integer(int64_t at) const { return lower_[at] + (place_[at] >= 0.5f ? 1 : 0); }
  template <typename Body>
  void for_rows(ThreadPool& pool, const Body& body) const {
    pool.parallel_for((layer_.channels + kRowGrain - 1) / kRowGrain, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t o = begin * kRowGrain; o < std::min(end * kRowGrain, layer_.channels); ++o) body(o);
    });
  }

  const LayerWeights layer_;
  const int64_t k_;
  std::vector<int8_t> lower_;
  std::vector<float> place_, factor_, bias_, unit_;
  Adam adam_place_, adam_factor_, adam_bias_;
  const bool learns_steps_;
};

// The variables of a grid: the log of the factor, and the shift.
class LearnedGrid {
 public:
  explicit LearnedGrid(bool zero_point) : zero_point_(zero_point), adam_(2) {}
  GridFloats floats() const { return {std::exp(log_), shift_}; }
  void move(const std::vector<const GridFloats*>& pieces, const Rates& rates) {
    float of_factor = 0, of_shift = 0;
    for (const GridFloats* piece : pieces) {
      of_factor += piece->factor;
      of_shift += piece->shift;
    }
    log_ = std::clamp(log_ - adam_.step(0, of_factor * std::exp(log_), rates.grid), -kMostGrid, kMostGrid);
    if (zero_point_)
      shift_ = std::clamp(shift_ - adam_.step(1, of_shift, rates.zero), -kMostShift, kMostShift);
  }
  void finish(GridChange& change) const {
    change.factor = std::exp(log_);
    change.shift = static_cast<int>(std::nearbyint(shift_));
  }

 private:
  const bool zero_point_;
  float log_ = 0, shift_ = 0;
  Adam adam_;
};

PartVariables exact_floats(const std::vector<LayerWeights>& layers, size_t grids) {
  PartVariables all;
  all.grids.resize(grids);
  std::vector<LayerFloats>& floats = all.layers;
  for (const LayerWeights& w : layers) {
    LayerFloats f{std::vector<float>(w.rounded.size()), w.bias};
    for (int64_t o = 0; o < w.channels; ++o)
      for (int64_t i = 0; i < w.length; ++i)
        f.weights[o * w.length + i] = static_cast<float>(w.rounded[o * w.length + i] * w.grid.step_of(o, i));
    floats.push_back(std::move(f));
  }
  return all;
}

// Of a layer's sums, if its inputs were independent and of that size: what its biases are measured in.
std::vector<float> deviations(const LayerWeights& layer, float input_size) {
  std::vector<float> result(layer.channels);
  for (int64_t o = 0; o < layer.channels; ++o) {
    double sum = 0;
    for (int64_t i = 0; i < layer.length; ++i) {
      const double w = layer.weights[o * layer.length + i];
      sum += w * w;
    }
    result[o] = static_cast<float>(std::sqrt(sum)) * input_size;
  }
  return result;
}

class Learning {
 public:
  Learning(const GraphPart& part, const BlockData& data, const BlockOptions& options, ThreadPool& pool)
      : part_(part), data_(data), options_(options), pool_(pool) {
    for (int i = 0; i < pool.threads(); ++i) slots_.push_back(part.slots());
    signal_.assign(part.outputs().size(), 0);
    std::vector<std::vector<double>> sums(data.training.size());
    pool.parallel_for(static_cast<int64_t>(sums.size()), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i)
        for (size_t o = 0; o < signal_.size(); ++o) {
          double sum = 0;
          for (const float v : data_.target(data_.training[i], o)) sum += static_cast<double>(v) * v;
          sums[i].push_back(sum);
        }
    });
    for (const auto& sum : sums)
      for (size_t o = 0; o < sum.size(); ++o) signal_[o] += sum[o] / static_cast<double>(sums.size());
  }

  // Noise over signal of each output, as a mean over the samples.
  std::vector<double> noise(const std::vector<int64_t>& samples, const PartVariables& floats) {
    std::vector<std::vector<double>> sums(samples.size());
    pool_.parallel_for(static_cast<int64_t>(samples.size()), 1, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t i = begin; i < end; ++i) {
        PartSlots& s = slots_[worker];
        data_.load(samples[i], s);
        part_.forward(s, floats);
        for (size_t o = 0; o < signal_.size(); ++o) sums[i].push_back(loss(s, samples[i], o, false));
      }
    });
    std::vector<double> result(signal_.size(), 0);
    for (const auto& sum : sums)
      for (size_t o = 0; o < sum.size(); ++o) result[o] += sum[o] / static_cast<double>(samples.size());
    return result;
  }

  // The size of each layer's inputs, for one sample.
  std::vector<float> input_sizes(size_t layers, const PartVariables& floats) {
    PartSlots& s = slots_[0];
    data_.load(data_.training[0], s);
    part_.forward(s, floats);
    std::vector<float> sizes;
    for (size_t l = 0; l < layers; ++l) {
      const std::vector<float>& x = s.values[part_.layer_input(l)];
      double sum = 0;
      for (const float v : x) sum += static_cast<double>(v) * v;
      sizes.push_back(
          static_cast<float>(std::sqrt(sum / static_cast<double>(std::max<size_t>(1, x.size())))));
    }
    return sizes;
  }

  double total(const std::vector<double>& noise) const {
    double sum = 0;
    for (const double n : noise) sum += n;
    return sum;
  }

  double decibels(const std::vector<double>& noise) const {
    double sum = 0;
    int count = 0;
    for (size_t o = 0; o < noise.size(); ++o)
      if (signal_[o] > 0) {
        sum += -10 * std::log10(std::max(noise[o], 1e-20));
        ++count;
      }
    return count > 0 ? sum / count : 0;
  }

  // Gradients of the batch's mean loss, in pieces.
  void differentiate(const std::vector<int64_t>& batch, const PartVariables& floats,
                     std::vector<PartVariables>& pieces) {
    pool_.parallel_for(kPieces, 1, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t p = begin; p < end; ++p) {
        for (LayerFloats& g : pieces[p].layers) {
          std::fill(g.weights.begin(), g.weights.end(), 0.0f);
          std::fill(g.bias.begin(), g.bias.end(), 0.0f);
        }
        std::fill(pieces[p].grids.begin(), pieces[p].grids.end(), GridFloats{0, 0});
        PartSlots& s = slots_[worker];
        for (size_t i = static_cast<size_t>(p); i < batch.size(); i += kPieces) {
          data_.load(batch[i], s);
          part_.forward(s, floats);
          part_.clear_gradients(s);
          for (size_t o = 0; o < signal_.size(); ++o) loss(s, batch[i], o, true);
          part_.backward(s, floats, pieces[p]);
        }
      }
    });
  }

 private:
  // |y^ - y|^2 / |y|^2 of one output, and its gradient.
  double loss(PartSlots& s, int64_t sample, size_t output, bool gradient) const {
    if (!(signal_[output] > 0)) return 0;
    const std::vector<float> wanted = data_.target(sample, output);
    const size_t slot = part_.outputs()[output].slot;
    const std::vector<float>& y = s.values[slot];
    const auto unit = static_cast<float>(2 / signal_[output] / options_.batch);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      const float d = y[i] - wanted[i];
      if (gradient)
        s.gradients[slot][i] += unit * d;
      else
        sum += static_cast<double>(d) * d;
    }
    return sum / signal_[output];
  }

  const GraphPart& part_;
  const BlockData& data_;
  const BlockOptions& options_;
  ThreadPool& pool_;
  std::vector<PartSlots> slots_;
  std::vector<double> signal_;
};

// Samples in an order that is mixed anew in each round.
class Batches {
 public:
  explicit Batches(std::vector<int64_t> samples) : samples_(std::move(samples)), next_(samples_.size()) {}
  std::vector<int64_t> take(int count) {
    std::vector<int64_t> batch;
    while (static_cast<int>(batch.size()) < count) {
      if (next_ == samples_.size()) {
        for (size_t i = samples_.size(); i > 1; --i) std::swap(samples_[i - 1], samples_[random() % i]);
        next_ = 0;
      }
      batch.push_back(samples_[next_++]);
    }
    return batch;
  }

 private:
  uint64_t random() {  // splitmix64
    uint64_t x = state_ += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
  std::vector<int64_t> samples_;
  size_t next_;
  uint64_t state_ = 0;
};

}  // namespace

BlockGain learn_block(const GraphPart& part, std::vector<LayerWeights>& layers,
                      std::vector<GridChange>& grids, const BlockData& data, const BlockOptions& options,
                      ThreadPool& pool) {
  BlockGain gain;
  Learning learning(part, data, options, pool);
  PartVariables floats = exact_floats(layers, grids.size());
  const std::vector<double> before = learning.noise(data.held_back, floats);
  gain.before_db = gain.after_db = learning.decibels(before);
  const double start = learning.total(learning.noise(data.training, floats));
  if (!(start > 0) || !std::isfinite(start)) return gain;

  std::vector<Learned> learned;
  learned.reserve(layers.size());
  const std::vector<float> sizes = learning.input_sizes(layers.size(), floats);
  for (size_t l = 0; l < layers.size(); ++l) learned.emplace_back(layers[l], deviations(layers[l], sizes[l]));
  std::vector<LearnedGrid> moved;
  moved.reserve(grids.size());
  for (const GridChange& grid : grids) moved.emplace_back(grid.zero_point);
  const auto write = [&] {
    for (size_t l = 0; l < layers.size(); ++l) learned[l].write(floats.layers[l], pool);
    for (size_t i = 0; i < grids.size(); ++i) floats.grids[i] = moved[i].floats();
  };
  std::vector<PartVariables> pieces(kPieces, floats);
  Batches batches(data.training);
  for (int t = 1; t <= options.iterations; ++t) {
    write();
    learning.differentiate(batches.take(options.batch), floats, pieces);
    const double fade = 0.5 * (1 + std::cos(kPi * t / options.iterations));
    const double adam =
        fade * std::sqrt(1 - std::pow(double{kMemory}, t)) / (1 - std::pow(double{kMomentum}, t));
    const auto rate = [&](double of) { return static_cast<float>(of * adam); };
    const Rates rates{rate(options.rate), rate(options.step_rate), rate(options.bias_rate),
                      rate(options.grid_rate), rate(options.zero_rate)};
    for (size_t l = 0; l < layers.size(); ++l) {
      std::vector<const LayerFloats*> of_layer;
      of_layer.reserve(pieces.size());
      for (const auto& piece : pieces) of_layer.push_back(&piece.layers[l]);
      learned[l].move(of_layer, rates, pool);
    }
    for (size_t i = 0; i < grids.size(); ++i) {
      std::vector<const GridFloats*> of_grid;
      of_grid.reserve(pieces.size());
      for (const auto& piece : pieces) of_grid.push_back(&piece.grids[i]);
      moved[i].move(of_grid, rates);
    }
  }
  write();
  const std::vector<double> after = learning.noise(data.held_back, floats);
  gain.after_db = learning.decibels(after);
  for (size_t l = 0; l < layers.size(); ++l) gain.flipped += learned[l].finish(layers[l]);
  for (size_t i = 0; i < grids.size(); ++i) moved[i].finish(grids[i]);
  gain.grids = static_cast<int64_t>(grids.size());
  return gain;
}

}  // namespace octet
