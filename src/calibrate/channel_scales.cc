#include "calibrate/channel_scales.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "base/error.h"
#include "passes/scale_axis.h"

namespace octet {
namespace {

constexpr double kLevels = 255;
constexpr double kRowShare = 1.0 / 6;  // of the least gain is enough for rows
// Where that many of the tensors gain the least gain, others are worth half of it.
constexpr double kMany = 0.2;
constexpr double kWeightLevels = 127;
constexpr double kAlphas[] = {0.25, 0.5, 0.75, 1};
// A channel's scale is at least this part of the largest.
constexpr double kSmallestShare = 1.0 / 4096;

// What is known of the channels of one group, by slot.
struct Slots {
  std::vector<double> low, high, square;  // own range, E[x^2]
  std::vector<double> count;              // of values behind `square`
  double step = 0;                        // of the one scale that scales per channel compete with
};

// One reader's noise as a function of the scales of the channels it reads.
struct Reader {
  std::vector<int64_t> slots;                   // of the channels
  std::vector<double> squares;                  // |W_c|^2, or 1
  std::vector<std::vector<double>> magnitudes;  // by output channel: max |W_o,c| of each channel; or none
  double taps = 0;

  double noise(const std::vector<double>& scale, const std::vector<double>& square) const {
    double first = 0, ratio = 0, steps = 0;
    for (size_t c = 0; c < slots.size(); ++c) {
      const double s = scale[slots[c]];
      first += s * s * squares[c];
      ratio += square[slots[c]] / (s * s);
    }
    for (const auto& row : magnitudes) {
      double largest = 0;
      for (size_t c = 0; c < row.size(); ++c) largest = std::max(largest, row[c] * scale[slots[c]]);
      steps += largest * largest;
    }
    return (first + steps / (kWeightLevels * kWeightLevels) * taps * ratio) / 12;
  }
};

// Of a Gemm or MatMul.
Reader row_reader(std::span<const float> w, const Shape& shape, int input_axis, Reader r) {
  const int64_t inputs = shape[input_axis], outputs = shape[1 - input_axis];
  r.magnitudes.assign(outputs, std::vector<double>(inputs, 0));
  for (int64_t o = 0; o < outputs; ++o)
    for (int64_t c = 0; c < inputs; ++c) {
      const double v = w[input_axis == 0 ? c * outputs + o : o * inputs + c];
      r.squares[c] += v * v;
      r.magnitudes[o][c] = std::abs(v);
    }
  r.taps = 1;
  return r;
}

Reader weighted_reader(const Graph& graph, const Node& node, const std::vector<int64_t>& slots) {
  Reader r{slots, std::vector<double>(slots.size(), 0), {}, 0};
  const Tensor& weights = *graph.value(node.inputs[1]).constant;
  const Shape& shape = weights.shape();
  const auto w = weights.as<float>();
  const auto channels = static_cast<int64_t>(slots.size());
  const bool rows = !node.is("Conv");
  if (rows) return row_reader(w, shape, weight_input_axis(graph, node), std::move(r));
  const int64_t taps = shape[2] * shape[3];
  const bool depthwise = node.attributes.get_int("group", 1) > 1;
  if (!depthwise) r.magnitudes.assign(shape[0], std::vector<double>(channels, 0));
  for (int64_t o = 0; o < shape[0]; ++o)
    for (int64_t i = 0; i < shape[1]; ++i) {
      const int64_t c = depthwise ? o / (shape[0] / channels) : i;
      for (int64_t t = 0; t < taps; ++t) {
        const double v = w[(o * shape[1] + i) * taps + t];
        r.squares[c] += v * v;
        if (!depthwise) r.magnitudes[o][c] = std::max(r.magnitudes[o][c], std::abs(v));
      }
    }
  r.taps = static_cast<double>(taps);
  return r;
}

class Chooser {
 public:
  Chooser(const Graph& graph, const Placement& placement, const CalibrationTable& table,
          const ChannelScaleOptions& options, ChosenParams& result)
      : graph_(graph), placement_(placement), table_(table), options_(options), result_(result) {
    for (NodeId id : placement.weighted) weighted_.insert(id);
  }

  void choose(int32_t group, const ChannelGroup& channels) {
    const std::vector<ValueId>& members = placement_.groups[group];
    const QuantParams whole = result_.params.at(members.front());
    const auto slots = observe(members, channels, whole);
    if (!slots) return;
    const std::vector<Reader> readers = readers_of(channels);
    if (readers.empty()) return;
    const auto n = static_cast<size_t>(channels.slots);
    std::vector<double> own(n);
    for (size_t s = 0; s < n; ++s) own[s] = (slots->high[s] - slots->low[s]) / kLevels;
    const double largest = *std::max_element(own.begin(), own.end());
    if (!(largest > 0)) return;
    // A channel that was never anything but zero may be anything later.
    for (double& o : own) o = o > 0 ? std::max(o, largest * kSmallestShare) : largest;

    std::vector<double> base, best;
    for (const Reader& r : readers)
      base.push_back(r.noise(std::vector<double>(n, slots->step), slots->square));
    ChannelChoice choice{graph_.value(members.front()).name, 0, -1e9, false, group, {}};
    for (double alpha : kAlphas) {
      if (alpha > options_.most_alpha) break;
      std::vector<double> scale(n);
      for (size_t s = 0; s < n; ++s) scale[s] = std::pow(own[s], alpha) * std::pow(largest, 1 - alpha);
      double ratio = 0;
      for (size_t r = 0; r < readers.size(); ++r)
        ratio += base[r] > 0 ? readers[r].noise(scale, slots->square) / base[r] : 1;
      const double gain = -10 * std::log10(std::max(1e-30, ratio / static_cast<double>(readers.size())));
      if (gain <= choice.gain_db) continue;
      choice.gain_db = gain;
      choice.alpha = alpha;
      best = std::move(scale);
    }
    const bool row = rows(members.front());
    double least = row ? options_.least_gain_db * kRowShare : options_.least_gain_db;
    if (!row) {
      ++images_;
      gaining_ += choice.gain_db > least;
      least *= share_;
    }
    if (options_.scales == ActivationScales::kChannel) least = 0.1;
    if (choice.gain_db <= least) return;
    choice.taken = options_.scales != ActivationScales::kTensor;
    if (choice.taken) take(channels, whole, best, *slots);
    choice.scale = std::move(best);
    result_.choices.push_back(std::move(choice));
  }

  // Of all tensors that choose() saw, whether many gain.
  bool many_gain() const { return gaining_ >= kMany * images_ && gaining_ > 0; }
  // Of the least gain, from now on.
  void take_from(double share) { share_ = share; }

 private:
  bool rows(ValueId value) const { return graph_.value(value).shape->size() != 4; }

  // Nullopt where a member's channels were not observed.
  std::optional<Slots> observe(const std::vector<ValueId>& members, const ChannelGroup& channels,
                               const QuantParams& whole) const {
    const auto n = static_cast<size_t>(channels.slots);
    Slots slots{std::vector<double>(n, 0), std::vector<double>(n, 0), std::vector<double>(n, 0),
                std::vector<double>(n, 0), whole.scale[0]};
    double lowest = static_cast<double>(int_limits(whole.dtype).low - whole.zero_point[0]) * whole.scale[0];
    double highest = lowest + kLevels * whole.scale[0];
    // The few channels that a range for all of them cuts off are what scales of their own are for. Of images
    // as far as least squared error would cut all of them: the extremes are one pixel's.
    for (ValueId member : members) {
      const auto found = table_.tensors.find(graph_.value(member).name);
      if (found == table_.tensors.end()) continue;
      const TableTensor& t = found->second;
      const auto mse = t.methods.find(RangeMethod::kMse);
      if (!rows(member) && mse == t.methods.end()) continue;
      const Range reach = rows(member) ? Range{t.min, t.max} : mse->second.range;
      lowest = std::min(lowest, static_cast<double>(reach.low));
      highest = std::max(highest, static_cast<double>(reach.high));
    }
    if (!rows(members.front())) slots.step = (highest - lowest) / kLevels;  // cut as far
    for (ValueId member : members) {
      const auto found = table_.tensors.find(graph_.value(member).name);
      const std::vector<int64_t>& of = channels.of.at(member);
      if (found == table_.tensors.end() || found->second.channels.min.size() != of.size()) return {};
      const TableChannels& c = found->second.channels;
      for (size_t i = 0; i < of.size(); ++i) {
        const auto s = static_cast<size_t>(of[i]);
        const double low = options_.stretch * c.min_mean[i] - options_.room * c.min_deviation[i];
        const double high = options_.stretch * c.max_mean[i] + options_.room * c.max_deviation[i];
        // A channel that one image uses and others do not has seen more than its mean and deviation say.
        slots.low[s] = std::min(slots.low[s], std::max(std::min<double>(low, c.min[i]), lowest));
        slots.high[s] = std::max(slots.high[s], std::min(std::max<double>(high, c.max[i]), highest));
        slots.square[s] += c.mean_square[i];
        slots.count[s] += 1;
      }
    }
    for (size_t s = 0; s < n; ++s) {
      if (slots.count[s] == 0) return {};
      slots.square[s] /= slots.count[s];
    }
    return slots;
  }

  std::vector<Reader> readers_of(const ChannelGroup& channels) const {
    std::vector<Reader> readers;
    for (const auto& [value, slots] : channels.of)
      for (NodeId id : graph_.consumers(value)) {
        const Node& node = graph_.node(id);
        if (weighted_.count(id) && node.inputs[0] == value)
          readers.push_back(weighted_reader(graph_, node, slots));
        else if (rows(value))
          continue;  // float readers see the floats
        else if (node.is("Add") || node.is("Mul") || node.is("AveragePool") || node.is("GlobalAveragePool"))
          readers.push_back({slots, std::vector<double>(slots.size(), 1), {}, 0});
      }
    return readers;
  }

  void take(const ChannelGroup& channels, const QuantParams& whole, const std::vector<double>& scale,
            const Slots& slots) {
    ++result_.taken;
    for (const auto& [value, of] : channels.of) {
      QuantParams q{whole.dtype, scale_axis(static_cast<int>(graph_.value(value).shape->size())), {}, {}};
      const IntLimits limits = int_limits(whole.dtype);
      for (int64_t s : of) {
        const double width = slots.high[s] - slots.low[s];
        const double zero = width > 0 ? std::nearbyint(limits.low - slots.low[s] / width * kLevels)
                                      : static_cast<double>(whole.zero_point[0]);
        q.scale.push_back(std::max(static_cast<float>(scale[s]), 1e-30f));
        q.zero_point.push_back(static_cast<int32_t>(
            std::clamp(zero, static_cast<double>(limits.low), static_cast<double>(limits.high))));
      }
      result_.params[value] = std::move(q);
    }
  }

  const Graph& graph_;
  const Placement& placement_;
  const CalibrationTable& table_;
  const ChannelScaleOptions& options_;
  ChosenParams& result_;
  std::set<NodeId> weighted_;
  int images_ = 0, gaining_ = 0;
  double share_ = 1;
};

// Where a table has scales, not only ranges: the largest of a group, bit for bit.
void keep_given_scales(const Placement& placement, const Graph& graph, const CalibrationTable& table,
                       ActivationParams& params) {
  std::vector<float> largest(placement.groups.size(), 0);
  for (size_t g = 0; g < placement.groups.size(); ++g)
    for (const ValueId v : placement.groups[g]) {
      const auto found = table.tensors.find(graph.value(v).name);
      if (found != table.tensors.end()) largest[g] = std::max(largest[g], found->second.scale);
    }
  for (const auto& [value, group] : placement.group_of)
    if (largest[static_cast<size_t>(group)] > 0)
      params.at(value).scale.assign(1, largest[static_cast<size_t>(group)]);
}

}  // namespace

ActivationScales parse_activation_scales(std::string_view name) {
  if (name == "auto") return ActivationScales::kAuto;
  if (name == "tensor") return ActivationScales::kTensor;
  if (name == "channel") return ActivationScales::kChannel;
  fail(ErrorCode::kInvalidArgument, "activation scales '{}': expected auto, tensor or channel", name);
}

std::vector<std::string> channel_values(const Graph& graph, const Placement& placement,
                                        const QuantizeOptions& options) {
  std::vector<std::string> names;
  const auto groups = channel_groups(graph, placement, options);
  for (size_t g = 0; g < groups.size(); ++g)
    if (groups[g])
      for (ValueId value : placement.groups[g]) names.push_back(graph.value(value).name);
  return names;
}

ChosenParams choose_activation_params(const Graph& graph, const Placement& placement,
                                      const QuantizeOptions& quantize, const CalibrationTable& table,
                                      const ChannelScaleOptions& options) {
  ChosenParams result;
  result.params = tensor_params(graph, placement, quantize, [&](const std::string& value) {
    const auto found = table.tensors.find(value);
    return found == table.tensors.end() ? std::nullopt : std::optional(found->second.range);
  });
  const TargetRules& target = quantize.target ? *quantize.target : find_target("octet");
  if (target.symmetric) keep_given_scales(placement, graph, table, result.params);
  ChannelScaleOptions limited = options;
  if (!target.channel_scales)
    result.off = fmt::format("target {} takes one scale per activation tensor", target.name);
  else if (table.samples < options.fewest_images)
    result.off =
        fmt::format("{} of the {} images that scales per channel need", table.samples, options.fewest_images);
  if (!result.off.empty()) limited.scales = ActivationScales::kTensor;
  const auto groups = channel_groups(graph, placement, quantize);
  const auto choose = [&](Chooser& chooser) {
    for (size_t g = 0; g < groups.size(); ++g)
      if (groups[g] && !placement.groups[g].empty()) chooser.choose(static_cast<int32_t>(g), *groups[g]);
  };
  const ActivationParams whole = result.params;
  Chooser chooser(graph, placement, table, limited, result);
  choose(chooser);
  if (limited.scales == ActivationScales::kAuto && chooser.many_gain()) {
    result.params = whole;
    result.choices.clear();
    result.taken = 0;
    chooser.take_from(0.5);
    choose(chooser);
  }
  std::stable_sort(result.choices.begin(), result.choices.end(),
                   [](const ChannelChoice& a, const ChannelChoice& b) { return a.gain_db > b.gain_db; });
  return result;
}

}  // namespace octet
