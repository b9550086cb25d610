#include <gtest/gtest.h>

#include "kernels/lut/lut.h"
#include "kernels/simd/test_tools.h"

namespace octet::kernels {
namespace {

using namespace testing;

TEST(Lut, SameAsReference) {
  Random random(test_seed());
  for (int64_t i = 0; i < test_cases(300); ++i) {
    LutCall call;
    call.pixels = random.range(1, 40);
    call.channels = random.range(1, random.chance(0.1) ? 5000 : 150);
    call.in_stride = call.channels + random.range(0, 1) * random.range(0, 40);
    call.out_stride = call.channels + random.range(0, 1) * random.range(0, 40);
    const auto table = random.bytes(256), input = random.bytes(call.pixels * call.in_stride + 64);
    call.table = table.data();
    call.input = input.data();
    const auto guard = random.bytes(call.pixels * call.out_stride + 64);
    auto expected = guard;
    call.output = expected.data();
    const LutKernel& reference = *lut_kernels().back();
    reference.run(call, 0, reference.pieces(call));
    for (const LutKernel* kernel : lut_kernels()) {
      if (!has_isa(kernel->isa)) continue;
      auto got = guard;
      call.output = got.data();
      run_pieces(random, kernel->pieces(call), [&](int64_t a, int64_t b) { kernel->run(call, a, b); });
      ASSERT_EQ(expected, got) << kernel->name << " case " << i << " channels " << call.channels;
    }
  }
}

}  // namespace
}  // namespace octet::kernels
