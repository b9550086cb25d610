#include "output_arrays.h"

#include <xxhash.h>

#include <cstring>
#include <memory>

#include "base/checked.h"

namespace octet::tools {

OutputArrays::OutputArrays(const engine::Model& model, int64_t samples)
    : outputs_(model.outputs.size()), samples_(static_cast<size_t>(samples)) {}

void OutputArrays::store(int64_t index, const engine::Context& context) {
  std::vector<Tensor>& sample = samples_[static_cast<size_t>(index)];
  for (size_t i = 0; i < outputs_; ++i) sample.push_back(context.output(i).clone());
}

bool OutputArrays::same_shapes() const {
  for (const int64_t s : stored_)
    for (size_t i = 0; i < outputs_; ++i)
      if (samples_[s][i].shape() != samples_[stored_[0]][i].shape()) return false;
  return true;
}

void OutputArrays::close(const std::vector<SkippedSample>& skipped) {
  for (size_t s = 0; s < samples_.size(); ++s)
    if (samples_[s].size() == outputs_) stored_.push_back(static_cast<int64_t>(s));
  if (stored_.empty() || samples_[stored_[0]].empty())
    fail(ErrorCode::kInvalidArgument, "none of the {} samples could be read: {}", samples_.size(),
         skipped.empty() ? "" : skipped.front().reason);
  mixed_ = !same_shapes();
  if (mixed_) {
    for (const int64_t s : stored_)
      for (Tensor& output : samples_[s]) arrays_.push_back(std::move(output));
    return;
  }
  for (size_t i = 0; i < outputs_; ++i) {
    const Tensor& first = samples_[stored_[0]][i];
    Shape shape = first.shape().empty() ? Shape{1} : first.shape();
    if (i == 0) rows_ = shape[0];
    shape[0] = checked_mul(shape[0], static_cast<int64_t>(stored_.size()));
    Tensor joined(first.dtype(), shape);
    auto* to = static_cast<std::byte*>(joined.raw());
    for (const int64_t s : stored_) {
      Tensor& part = samples_[s][i];
      const int64_t bytes = part.bytes();
      if (bytes > 0) std::memcpy(to, part.raw(), static_cast<size_t>(bytes));
      to += bytes;
      part = Tensor();  // its memory is not needed twice
    }
    arrays_.push_back(std::move(joined));
  }
}

uint64_t arrays_hash(const std::vector<Tensor>& arrays) {
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(),
                                                                              XXH3_freeState);
  XXH3_64bits_reset(state.get());
  for (const Tensor& t : arrays)
    if (t.bytes() > 0) XXH3_64bits_update(state.get(), t.raw(), static_cast<size_t>(t.bytes()));
  return XXH3_64bits_digest(state.get());
}

}  // namespace octet::tools
