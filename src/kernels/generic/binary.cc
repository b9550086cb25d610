// Operators of two or more broadcast inputs.
#include <cmath>

#include "kernels/generic/math.h"
#include "kernels/generic/ops.h"

namespace octet::kernels::generic {
namespace {

template <typename T>
using Unsigned = std::conditional_t<(sizeof(T) < 4), uint32_t, std::make_unsigned_t<T>>;

// Integers wrap.
struct AddOp {
  template <typename T>
  T operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>)
      return a + b;
    else
      return static_cast<T>(static_cast<Unsigned<T>>(a) + static_cast<Unsigned<T>>(b));
  }
};

struct SubOp {
  template <typename T>
  T operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>)
      return a - b;
    else
      return static_cast<T>(static_cast<Unsigned<T>>(a) - static_cast<Unsigned<T>>(b));
  }
};

struct MulOp {
  template <typename T>
  T operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>)
      return a * b;
    else
      return static_cast<T>(static_cast<Unsigned<T>>(a) * static_cast<Unsigned<T>>(b));
  }
};

// Integers truncate; the caller has excluded a divisor of 0.
struct DivOp {
  template <typename T>
  T operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>)
      return a / b;
    else if constexpr (std::is_signed_v<T>)
      return b == -1 ? SubOp()(T{0}, a) : static_cast<T>(a / b);
    else
      return static_cast<T>(a / b);
  }
};

template <typename Op>
void arithmetic(Inputs inputs, Outputs outputs, Op op) {
  expect_arity(inputs, 2, 2, outputs);
  expect_dtype(inputs[1], inputs[0].dtype());
  expect_dtype(outputs[0], inputs[0].dtype());
  visit_number(inputs[0].dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    broadcast_binary<T, T, T>(inputs[0], inputs[1], outputs[0], op);
  });
}

void expect_no_zero(const Tensor& divisor) {
  visit_number(divisor.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    const T* b = data<T>(divisor);
    if constexpr (std::is_integral_v<T>)
      expect(std::find(b, b + divisor.count(), T{0}) == b + divisor.count(), "integer division by 0");
  });
}

template <typename Op>
void compare(Inputs inputs, Outputs outputs, Op op) {
  expect_arity(inputs, 2, 2, outputs);
  expect_dtype(inputs[1], inputs[0].dtype());
  expect_dtype(outputs[0], DType::kBool);
  visit_number(
      inputs[0].dtype(),
      [&](auto type) {
        using T = typename decltype(type)::type;
        broadcast_binary<T, T, uint8_t>(inputs[0], inputs[1], outputs[0],
                                        [=](T a, T b) { return static_cast<uint8_t>(op(a, b)); });
      },
      true);
}

template <typename Op>
void logical(Inputs inputs, Outputs outputs, Op op) {
  expect_arity(inputs, 2, 2, outputs);
  for (const Tensor* t : {&inputs[0], &inputs[1], &std::as_const(outputs[0])}) expect_dtype(*t, DType::kBool);
  broadcast_binary<uint8_t, uint8_t, uint8_t>(inputs[0], inputs[1], outputs[0], [=](uint8_t a, uint8_t b) {
    return static_cast<uint8_t>(op(a != 0, b != 0));
  });
}

// One input after the other into the output, whose shape they all broadcast to.
template <typename Op>
void variadic(Inputs inputs, Outputs outputs, Op op) {
  expect_arity(inputs, 1, SIZE_MAX, outputs);
  Tensor& y = outputs[0];
  std::vector<const Tensor*> all;
  for (size_t i = 0; i < inputs.size(); ++i) {
    expect_dtype(input(inputs, i), y.dtype());
    all.push_back(&inputs[i]);
  }
  expect_shape(y, broadcast_shape(all));
  visit_number(y.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    broadcast_binary<T, T, T>(inputs[0], y, y, [](T a, T) { return a; });
    for (size_t i = 1; i < inputs.size(); ++i) broadcast_binary<T, T, T>(y, inputs[i], y, op);
  });
}

}  // namespace

void run_add(const Attributes&, Inputs inputs, Outputs outputs) {
  arithmetic(inputs, outputs, AddOp());
}

void run_sub(const Attributes&, Inputs inputs, Outputs outputs) {
  arithmetic(inputs, outputs, SubOp());
}

void run_mul(const Attributes&, Inputs inputs, Outputs outputs) {
  arithmetic(inputs, outputs, MulOp());
}

void run_div(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 2, outputs);
  expect_no_zero(inputs[1]);
  arithmetic(inputs, outputs, DivOp());
}

void run_prelu(const Attributes&, Inputs inputs, Outputs outputs) {
  arithmetic(inputs, outputs, []<typename T>(T x, T slope) { return x < T{0} ? MulOp()(slope, x) : x; });
}

// fmod = 0: the sign of the divisor (integers), 1: the sign of the dividend.
void run_mod(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 2, outputs);
  expect_no_zero(inputs[1]);
  const bool dividend = attributes.get_int("fmod", 0) != 0;
  arithmetic(inputs, outputs, [=]<typename T>(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
      const T r = std::fmod(a, b);
      return !dividend && r != T{0} && (r < T{0}) != (b < T{0}) ? r + b : r;
    } else if constexpr (std::is_signed_v<T>) {
      if (b == -1) return T{0};
      const T r = static_cast<T>(a % b);
      return !dividend && r != T{0} && (r < T{0}) != (b < T{0}) ? static_cast<T>(r + b) : r;
    } else {
      return static_cast<T>(a % b);
    }
  });
}

void run_sum(const Attributes&, Inputs inputs, Outputs outputs) {
  variadic(inputs, outputs, AddOp());
}

void run_max(const Attributes&, Inputs inputs, Outputs outputs) {
  variadic(inputs, outputs, []<typename T>(T a, T b) { return a > b || is_nan(a) ? a : b; });
}

void run_min(const Attributes&, Inputs inputs, Outputs outputs) {
  variadic(inputs, outputs, []<typename T>(T a, T b) { return a < b || is_nan(a) ? a : b; });
}

void run_equal(const Attributes&, Inputs inputs, Outputs outputs) {
  compare(inputs, outputs, [](auto a, auto b) { return a == b; });
}

void run_less(const Attributes&, Inputs inputs, Outputs outputs) {
  compare(inputs, outputs, [](auto a, auto b) { return a < b; });
}

void run_less_or_equal(const Attributes&, Inputs inputs, Outputs outputs) {
  compare(inputs, outputs, [](auto a, auto b) { return a <= b; });
}

void run_greater(const Attributes&, Inputs inputs, Outputs outputs) {
  compare(inputs, outputs, [](auto a, auto b) { return a > b; });
}

void run_greater_or_equal(const Attributes&, Inputs inputs, Outputs outputs) {
  compare(inputs, outputs, [](auto a, auto b) { return a >= b; });
}

void run_and(const Attributes&, Inputs inputs, Outputs outputs) {
  logical(inputs, outputs, [](bool a, bool b) { return a && b; });
}

void run_or(const Attributes&, Inputs inputs, Outputs outputs) {
  logical(inputs, outputs, [](bool a, bool b) { return a || b; });
}

void run_xor(const Attributes&, Inputs inputs, Outputs outputs) {
  logical(inputs, outputs, [](bool a, bool b) { return a != b; });
}

// Base and exponent may have different types; the result has the base's.
void run_pow(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 2, outputs);
  expect_dtype(outputs[0], inputs[0].dtype());
  visit_number(inputs[0].dtype(), [&](auto base_type) {
    using T = typename decltype(base_type)::type;
    visit_number(inputs[1].dtype(), [&](auto exponent_type) {
      using E = typename decltype(exponent_type)::type;
      broadcast_binary<T, E, T>(inputs[0], inputs[1], outputs[0], [](T base, E exponent) {
        if constexpr (std::is_integral_v<T> && std::is_integral_v<E>) {
          if (exponent < E{0}) return static_cast<T>(base == T{1} ? 1 : 0);
          uint64_t result = 1, square = static_cast<uint64_t>(static_cast<int64_t>(base));
          for (auto n = static_cast<uint64_t>(static_cast<int64_t>(exponent)); n != 0; n >>= 1) {
            if ((n & 1) != 0) result *= square;
            square *= square;
          }
          return static_cast<T>(result);
        } else {
          const double v = pow_exact(static_cast<double>(base), static_cast<double>(exponent));
          if constexpr (std::is_integral_v<T>)
            return v >= -0x1p62 && v <= 0x1p62 ? static_cast<T>(static_cast<int64_t>(v)) : T{0};
          else
            return static_cast<T>(v);
        }
      });
    });
  });
}

}  // namespace octet::kernels::generic
