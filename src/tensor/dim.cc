#include "tensor/dim.h"

#include <algorithm>
#include <limits>

#include "base/checked.h"

namespace octet {

// Immutable. `depth` bounds recursion; `size`, the nodes of the expanded tree, bounds the work of evaluation
// where nodes are shared.
struct Dim::Node {
  Op op;
  std::string name;
  Dim left, right;
  int depth = 1;
  int64_t size = 1;
};

namespace {

constexpr int kMaxDepth = 200;
constexpr int64_t kMaxSize = 10'000;
using Op = Dim::Op;

int64_t apply(Op op, int64_t a, int64_t b) {
  int64_t r = 0;
  switch (op) {
    case Op::kAdd:
      return checked_add(a, b);
    case Op::kSub:
      if (__builtin_sub_overflow(a, b, &r)) fail(ErrorCode::kInvalidArgument, "size overflow: {} - {}", a, b);
      return r;
    case Op::kMul:
      return checked_mul(a, b);
    case Op::kFloorDiv:
      if (b == 0) fail(ErrorCode::kInvalidArgument, "dimension {} divided by zero", a);
      if (b == -1) return apply(Op::kSub, 0, a);
      return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
    case Op::kMin:
      return std::min(a, b);
    case Op::kMax:
      return std::max(a, b);
    case Op::kConstant:
    case Op::kSymbol:
      break;
  }
  fail(ErrorCode::kInternal, "dimension operator {} combines nothing", static_cast<int>(op));
}

bool is(const Dim& dim, Op op) {
  return dim.op() == op;
}
bool constant(const Dim& dim, int64_t value) {
  return dim.known() && dim.value() == value;
}
// x op c
bool with_constant(const Dim& dim, Op op) {
  return is(dim, op) && dim.right().known();
}

// c of floor(x/c), c > 1; 0 for any other form.
int64_t divisor(const Dim& dim) {
  return with_constant(dim, Op::kFloorDiv) && dim.right().value() > 1 ? dim.right().value() : 0;
}

Dim simplify_add(const Dim& a, const Dim& b, bool& done) {
  done = true;
  if (constant(b, 0)) return a;
  // floor(x/c) + d = floor((x + c*d)/c)
  int64_t moved = 0;
  if (const int64_t c = divisor(a); c > 0 && b.known() && !__builtin_mul_overflow(b.value(), c, &moved))
    return floor_div(a.left() + moved, c);
  // Constants move outwards, where they meet.
  if (with_constant(a, Op::kAdd))
    return b.known() ? a.left() + apply(Op::kAdd, a.right().value(), b.value()) : (a.left() + b) + a.right();
  if (with_constant(b, Op::kAdd)) return (a + b.left()) + b.right();
  // x*c + x*d
  const bool am = with_constant(a, Op::kMul), bm = with_constant(b, Op::kMul);
  const Dim& ax = am ? a.left() : a;
  const Dim& bx = bm ? b.left() : b;
  if (!b.known() && ax == bx)
    return ax * apply(Op::kAdd, am ? a.right().value() : 1, bm ? b.right().value() : 1);
  if (is(a, Op::kSub) && a.right() == b) return a.left();
  if (is(b, Op::kSub) && b.right() == a) return b.left();
  done = false;
  return {};
}

Dim simplify_sub(const Dim& a, const Dim& b, bool& done) {
  done = true;
  if (b.known() && b.value() != std::numeric_limits<int64_t>::min()) return a + Dim(-b.value());
  if (a == b) return 0;
  if (with_constant(a, Op::kAdd)) return (a.left() - b) + a.right();
  if (with_constant(b, Op::kAdd)) return (a - b.left()) - b.right();
  // Two quotients by one number whose dividends differ by a multiple of it.
  if (const int64_t c = divisor(a); c > 0 && divisor(b) == c) {
    const bool am = with_constant(a.left(), Op::kAdd), bm = with_constant(b.left(), Op::kAdd);
    const Dim &ax = am ? a.left().left() : a.left(), &bx = bm ? b.left().left() : b.left();
    const int64_t difference =
        apply(Op::kSub, am ? a.left().right().value() : 0, bm ? b.left().right().value() : 0);
    if (ax == bx && difference % c == 0) return difference / c;
  }
  if (is(a, Op::kAdd) && a.left() == b) return a.right();
  if (is(a, Op::kAdd) && a.right() == b) return a.left();
  done = false;
  return {};
}

Dim simplify_mul(const Dim& a, const Dim& b, bool& done) {
  done = true;
  if (constant(b, 1)) return a;
  if (constant(b, 0)) return 0;
  if (b.known() && with_constant(a, Op::kMul))
    return a.left() * apply(Op::kMul, a.right().value(), b.value());
  done = false;
  return {};
}

Dim simplify_floor_div(const Dim& a, const Dim& b, bool& done) {
  done = true;
  if (b.known()) {
    const int64_t c = b.value();
    if (c == 0) fail(ErrorCode::kInvalidArgument, "dimension {} divided by zero", a.text());
    if (c == 1) return a;
    if (c > 1) {
      if (with_constant(a, Op::kMul) && a.right().value() % c == 0) return a.left() * (a.right().value() / c);
      // floor((x*kc + d) / c) = x*k + floor(d / c)
      if (with_constant(a, Op::kAdd) && with_constant(a.left(), Op::kMul) &&
          a.left().right().value() % c == 0)
        return a.left().left() * (a.left().right().value() / c) + apply(Op::kFloorDiv, a.right().value(), c);
      if (with_constant(a, Op::kFloorDiv) && a.right().value() > 0)
        return floor_div(a.left(), apply(Op::kMul, a.right().value(), c));
    }
  }
  done = false;
  return {};
}

// min and max of a and max(a, x), min(a, x), or of x and a bound that x keeps anyway.
Dim simplify_extreme(Op op, const Dim& a, const Dim& b, bool& done) {
  const Op other = op == Op::kMin ? Op::kMax : Op::kMin;
  const auto has = [&](const Dim& y, Op of, const Dim& x) {
    return is(y, of) && (y.left() == x || y.right() == x);
  };
  done = true;
  if (a == b || has(b, other, a) || has(a, op, b)) return a;
  if (has(a, other, b) || has(b, op, a)) return b;
  if (op == Op::kMax && b.known() && b.value() <= 0 && nonnegative(a)) return a;
  // Two constants of one chain: max(max(x, 3), 5).
  if (b.known() && with_constant(a, op))
    return Dim::combine(op, a.left(), apply(op, a.right().value(), b.value()));
  done = false;
  return {};
}

std::string atom(const Dim& dim, bool inside_product) {
  const Op op = dim.op();
  const bool compound = op == Op::kAdd || op == Op::kSub || (op == Op::kMul && inside_product);
  return compound || (dim.known() && dim.value() < 0) ? fmt::format("({})", dim.text()) : dim.text();
}

}  // namespace

Dim Dim::symbol(std::string name) {
  if (name.empty()) fail(ErrorCode::kInvalidArgument, "a symbolic dimension without a name");
  Dim d;
  d.node_ = std::make_shared<const Node>(Node{Op::kSymbol, std::move(name), {}, {}});
  return d;
}

Dim Dim::combine(Op op, const Dim& a, const Dim& b) {
  if (op == Op::kConstant || op == Op::kSymbol || op > Op::kMax)
    fail(ErrorCode::kInternal, "dimension operator {} combines nothing", static_cast<int>(op));
  if (a.known() && b.known()) return apply(op, a.value_, b.value_);
  const bool commutes = op != Op::kSub && op != Op::kFloorDiv;
  if (commutes && a.known()) return combine(op, b, a);  // constants stand on the right
  bool done = false;
  Dim simple;
  switch (op) {
    case Op::kAdd:
      simple = simplify_add(a, b, done);
      break;
    case Op::kSub:
      simple = simplify_sub(a, b, done);
      break;
    case Op::kMul:
      simple = simplify_mul(a, b, done);
      break;
    case Op::kFloorDiv:
      simple = simplify_floor_div(a, b, done);
      break;
    default:
      simple = simplify_extreme(op, a, b, done);
  }
  if (done) return simple;

  Node node{op, {}, a, b};
  for (const Dim* part : {&a, &b}) {
    if (part->known()) {
      node.size += 1;
      continue;
    }
    node.depth = std::max(node.depth, part->node_->depth + 1);
    node.size += part->node_->size;
  }
  if (node.depth > kMaxDepth || node.size > kMaxSize)
    fail(ErrorCode::kUnsupported,
         "a dimension's expression is too complex (depth {}, {} terms); fix some input shapes", node.depth,
         node.size);
  Dim d;
  d.node_ = std::make_shared<const Node>(std::move(node));
  return d;
}

int64_t complexity(const Dim& dim) {
  return dim.node_ == nullptr ? 1 : dim.node_->size;
}

int64_t Dim::value() const {
  if (!known()) fail(ErrorCode::kInvalidArgument, "dimension '{}' is not known", text());
  return value_;
}

Dim::Op Dim::op() const {
  return node_ ? node_->op : Op::kConstant;
}

const std::string& Dim::name() const {
  if (op() != Op::kSymbol) fail(ErrorCode::kInternal, "dimension '{}' has no name", text());
  return node_->name;
}

const Dim& Dim::left() const {
  if (known() || op() == Op::kSymbol) fail(ErrorCode::kInternal, "dimension '{}' has no operands", text());
  return node_->left;
}

const Dim& Dim::right() const {
  if (known() || op() == Op::kSymbol) fail(ErrorCode::kInternal, "dimension '{}' has no operands", text());
  return node_->right;
}

int64_t Dim::evaluate(const SymbolValues& symbols) const {
  if (known()) return value_;
  if (node_->op == Op::kSymbol) {
    const auto it = symbols.find(node_->name);
    if (it == symbols.end())
      fail(ErrorCode::kInvalidArgument, "no value for the dimension '{}'", node_->name);
    return it->second;
  }
  return apply(node_->op, node_->left.evaluate(symbols), node_->right.evaluate(symbols));
}

std::string Dim::text() const {
  if (known()) return std::to_string(value_);
  if (node_->op == Op::kSymbol) return node_->name;
  const Dim &l = node_->left, &r = node_->right;
  switch (node_->op) {
    case Op::kAdd:
      return r.known() && r.value() < 0 ? atom(l, false) + r.text()
                                        : fmt::format("{}+{}", atom(l, false), atom(r, false));
    case Op::kSub:
      return fmt::format("{}-{}", atom(l, false), atom(r, false));
    case Op::kMul:
      return fmt::format("{}*{}", atom(l, true), atom(r, true));
    case Op::kFloorDiv:
      return fmt::format("floor({}/{})", atom(l, true), atom(r, true));
    case Op::kMin:
      return fmt::format("min({},{})", l.text(), r.text());
    default:
      return fmt::format("max({},{})", l.text(), r.text());
  }
}

bool operator==(const Dim& a, const Dim& b) {
  if (a.node_ == b.node_) return a.node_ != nullptr || a.value_ == b.value_;
  if (a.known() || b.known() || a.node_->op != b.node_->op) return false;
  if (a.node_->op == Dim::Op::kSymbol) return a.node_->name == b.node_->name;
  return a.node_->size == b.node_->size && a.node_->left == b.node_->left && a.node_->right == b.node_->right;
}

bool nonnegative(const Dim& dim) {
  switch (dim.op()) {
    case Op::kConstant:
      return dim.value() >= 0;
    case Op::kSymbol:
      return true;
    case Op::kSub:
      return false;
    case Op::kMax:
      return nonnegative(dim.left()) || nonnegative(dim.right());
    default:
      return nonnegative(dim.left()) && nonnegative(dim.right());
  }
}

Dim replace(const Dim& dim, const Dim& from, const Dim& to) {
  if (dim == from) return to;
  if (dim.known() || dim.op() == Op::kSymbol || complexity(dim) <= complexity(from)) return dim;
  const Dim left = replace(dim.left(), from, to), right = replace(dim.right(), from, to);
  if (left == dim.left() && right == dim.right()) return dim;
  return Dim::combine(dim.op(), left, right);
}

bool all_known(const Dims& dims) {
  return std::all_of(dims.begin(), dims.end(), [](const Dim& d) { return d.known(); });
}

std::vector<int64_t> evaluate(const Dims& dims, const SymbolValues& symbols) {
  std::vector<int64_t> values;
  values.reserve(dims.size());
  for (const Dim& d : dims) values.push_back(d.evaluate(symbols));
  return values;
}

std::string to_string(const Dims& dims) {
  if (dims.empty()) return "scalar";
  std::string text;
  for (const Dim& d : dims) text += fmt::format("{}{}", text.empty() ? "" : "x", d.text());
  return text;
}

}  // namespace octet
