// From statistics of a tensor to the range of real numbers that its integers shall cover.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "quant/quant_params.h"
#include "quant/range/statistics.h"

namespace octet {

enum class RangeMethod { kMinMax, kMovingAverage, kPercentile, kMse, kEntropy, kAdmm, kAciq, kOutput };
inline constexpr std::array kRangeMethods{
    RangeMethod::kMinMax,  RangeMethod::kMovingAverage, RangeMethod::kPercentile, RangeMethod::kMse,
    RangeMethod::kEntropy, RangeMethod::kAdmm,          RangeMethod::kAciq,       RangeMethod::kOutput};

// "minmax", "moving-average", "percentile", "mse", "entropy", "admm", "aciq", "output"
std::string_view range_method_name(RangeMethod method);
RangeMethod parse_range_method(std::string_view name);  // throws Error that lists the names

struct RangeOptions {
  DType dtype = DType::kUInt8;
  bool symmetric = false;        // zero-point in the middle: the range is [-a, a]
  double percentile = 99.99;     // kPercentile: percent of all values that are inside, 50..100
  double moving_average = 0.01;  // kMovingAverage: weight of each new sample, in (0, 1]
  friend bool operator==(const RangeOptions&, const RangeOptions&) = default;
};

// Throws Error where an option is out of its limits.
void validate(const RangeOptions& options);

// The range that `method` prefers, within the observed extremes; {0, 0} without finite values. Does not
// depend on anything but statistics.data(), the options and, for kOutput, the energies.
Range choose_range(RangeMethod method, const TensorStatistics& statistics, const RangeOptions& options,
                   std::span<const double> energies = {});

// The methods, without the widening to [-a, a] that choose_range does for symmetric grids (mse and entropy do
// their own).

// The observed extremes.
Range minmax_range(const TensorStatistics& statistics);

// Exponential moving average of each sample's extremes, in the order of sample indices, starting at the first
// sample's (Jacob et al. 2018, section 3.1). The one method that depends on order. Throws Error when the
// statistics kept no extremes per sample.
Range moving_average_range(const TensorStatistics& statistics, double weight);

// Cuts off (100 - percentile) / 2 percent of the values at each end; linear inside a bin.
Range percentile_range(const TensorStatistics& statistics, double percentile);

// Least mean squared error of quantization, see expected_mse(): each end between 0.20 and 1.00 of its extreme
// in steps of 0.01, searched in turn, three rounds; for symmetric grids one search over both.
Range mse_range(const TensorStatistics& statistics, const RangeOptions& options);

// Least Kullback-Leibler divergence between the clipped distribution and its quantized form. Symmetric: over
// all thresholds of a histogram of |x| (2048 bins up to the next power of two), int8 having 128 levels
// (Migacz, "8-bit inference with TensorRT", 2017). Otherwise both ends are searched like mse_range's. Exact
// zeros are left out: every grid represents them. Min-max where the grid is finer than the histogram.
Range entropy_range(const TensorStatistics& statistics, const RangeOptions& options);

// Alternating least squares on the scale, as in the quantization step of ADMM (Leng et al., "Extremely low
// bit neural network: squeeze the last bit out with ADMM", 2018; Ye et al., "Progressive DNN compression:
// ... using ADMM", 2019): q = clip(round(x / s)), then s = <x, q> / <q, q>, until s rests. On bins' centres.
// Affine grids also move the zero-point by one where that is better. What it finds is a local optimum, so it
// starts at 1.0, 0.8, 0.6, 0.4 and 0.2 of the extremes and keeps the least error. Within the extremes.
// Min-max where the grid is finer than the histogram.
Range admm_range(const TensorStatistics& statistics, const RangeOptions& options);

// Analytic clipping (Banner et al., "Post training 4-bit quantization of convolutional networks for
// rapid-deployment", 2019): mean +- a, where a minimizes the squared error of a Laplace or a normal
// distribution, clipped at a and quantized evenly to M bits. Laplace: a = b W(3 * 4^M), 9.89 b for 8 bits;
// normal: 3.92 sigma. Tensors of one sign on an affine grid are half a distribution: [0, a] with M + 1. Of
// the two distributions the likelier one: b / sigma < sqrt(pi / (2 e)) means Laplace. Symmetric grids fit
// around zero. Exact zeros are left out: every grid represents them. Within the extremes.
Range aciq_range(const TensorStatistics& statistics, const RangeOptions& options);

// Like mse, but for the squared error at the network's outputs. An error e in channel c adds e^2 *
// energies[c] there (up to a factor that all channels share; see reader_energies()), when the errors of two
// values are independent. Minimized is the sum over bins of count * energy * squared error, where a bin's
// energy is the mean, by numbers of values, over the channels whose extremes reach that bin. The same as mse
// where the channels were not observed, or no energies are given. Throws Error where their number is not that
// of the channels, or one is negative or not finite.
Range output_range(const TensorStatistics& statistics, const RangeOptions& options,
                   std::span<const double> energies);

// The grid that a range stands for.
QuantParams range_params(Range range, const RangeOptions& options);

// Mean squared error of quantizing the observed finite values with per-tensor parameters, predicted from the
// histogram; 0 without values.
double expected_mse(const TensorStatistics& statistics, const QuantParams& params);

// The same as signal to noise, 10 log10(E[x^2] / mse) in decibels; +infinity when nothing is lost.
double expected_sqnr_db(const TensorStatistics& statistics, const QuantParams& params);

}  // namespace octet
