// A dimension that may not be known until an engine's context is created: an integer expression over named
// symbols.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace octet {

using SymbolValues = std::map<std::string, int64_t, std::less<>>;

// A value type; copies are cheap. Constants fold, so a Dim made of known numbers is known. Equality is
// structural: two dims that compare unequal may still have the same value.
class Dim {
 public:
  enum class Op : uint8_t { kConstant, kSymbol, kAdd, kSub, kMul, kFloorDiv, kMin, kMax };

  Dim(int64_t value = 0) : value_(value) {}  // NOLINT(google-explicit-constructor): a number is a Dim
  static Dim symbol(std::string name);
  static Dim combine(Op op, const Dim& a, const Dim& b);  // any op but kConstant and kSymbol

  bool known() const { return node_ == nullptr; }
  int64_t value() const;  // throws Error when not known
  Op op() const;
  const std::string& name() const;  // of a symbol
  const Dim& left() const;
  const Dim& right() const;

  // Value under the given symbols. Throws Error for a missing symbol, overflow or division by zero.
  int64_t evaluate(const SymbolValues& symbols) const;
  std::string text() const;  // "N", "floor((H+1)/2)"

  friend bool operator==(const Dim& a, const Dim& b);
  friend int64_t complexity(const Dim& dim);
  friend Dim operator+(const Dim& a, const Dim& b) { return combine(Op::kAdd, a, b); }
  friend Dim operator-(const Dim& a, const Dim& b) { return combine(Op::kSub, a, b); }
  friend Dim operator*(const Dim& a, const Dim& b) { return combine(Op::kMul, a, b); }

 private:
  struct Node;
  int64_t value_ = 0;
  std::shared_ptr<const Node> node_;
};

inline Dim floor_div(const Dim& a, const Dim& b) {
  return Dim::combine(Dim::Op::kFloorDiv, a, b);
}
inline Dim min(const Dim& a, const Dim& b) {
  return Dim::combine(Dim::Op::kMin, a, b);
}
inline Dim max(const Dim& a, const Dim& b) {
  return Dim::combine(Dim::Op::kMax, a, b);
}

using Dims = std::vector<Dim>;

// The expression that a text of numbers, these symbols, + - * // floor(a/b) and parentheses is, as in
// "past_length + length"; nullopt where it is none, a number alone, or can be negative.
std::optional<Dim> parse_dim(std::string_view text, const std::set<std::string, std::less<>>& symbols);

// True when no value of the symbols, which are sizes of 0 or more, can make it negative.
bool nonnegative(const Dim& dim);
// `dim` with every part that equals `from` replaced by `to`.
Dim replace(const Dim& dim, const Dim& from, const Dim& to);
// Number of symbols, constants and operators in it.
int64_t complexity(const Dim& dim);

bool all_known(const Dims& dims);
std::vector<int64_t> evaluate(const Dims& dims, const SymbolValues& symbols = {});
std::string to_string(const Dims& dims);

}  // namespace octet
