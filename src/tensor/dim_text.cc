// Expressions that exporters write as names of dimensions.
#include <cctype>
#include <charconv>

#include "base/error.h"
#include "tensor/dim.h"

namespace octet {
namespace {

constexpr size_t kMaxText = 256;

// sum = product {("+" | "-") product};  product = factor {("*" | "//") factor};
// factor = number | symbol | "(" sum ")" | "floor(" factor "/" factor ")"
class Parser {
 public:
  Parser(std::string_view text, const std::set<std::string, std::less<>>& symbols)
      : text_(text), symbols_(symbols) {}

  std::optional<Dim> parse() {
    const std::optional<Dim> dim = sum();
    return at_end() ? dim : std::nullopt;
  }

 private:
  bool at_end() {
    while (!text_.empty() && text_.front() == ' ') text_.remove_prefix(1);
    return text_.empty();
  }
  bool take(std::string_view token) {
    at_end();
    if (!text_.starts_with(token)) return false;
    text_.remove_prefix(token.size());
    return true;
  }

  std::optional<Dim> sum() {
    std::optional<Dim> left = product();
    while (left) {
      const bool plus = take("+");
      if (!plus && !take("-")) break;
      const std::optional<Dim> right = product();
      if (!right) return {};
      left = plus ? *left + *right : *left - *right;
    }
    return left;
  }

  std::optional<Dim> product() {
    std::optional<Dim> left = factor();
    while (left) {
      const bool divided = take("//");
      if (!divided && !take("*")) break;
      const std::optional<Dim> right = factor();
      if (!right) return {};
      left = divided ? floor_div(*left, *right) : *left * *right;
    }
    return left;
  }

  std::optional<Dim> factor() {
    if (take("floor(")) {
      const std::optional<Dim> left = factor();
      if (!left || !take("/")) return {};
      const std::optional<Dim> right = factor();
      return right && take(")") ? std::optional(floor_div(*left, *right)) : std::nullopt;
    }
    if (take("(")) {
      const std::optional<Dim> inner = sum();
      return inner && take(")") ? inner : std::nullopt;
    }
    at_end();
    size_t length = 0;
    while (length < text_.size() &&
           (std::isalnum(static_cast<unsigned char>(text_[length])) != 0 || text_[length] == '_'))
      ++length;
    const std::string_view word = text_.substr(0, length);
    text_.remove_prefix(length);
    int64_t number = 0;
    const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), number);
    if (problem == std::errc() && end == word.data() + word.size()) return Dim(number);
    return symbols_.contains(word) ? std::optional(Dim::symbol(std::string(word))) : std::nullopt;
  }

  std::string_view text_;
  const std::set<std::string, std::less<>>& symbols_;
};

}  // namespace

std::optional<Dim> parse_dim(std::string_view text, const std::set<std::string, std::less<>>& symbols) {
  if (text.size() > kMaxText) return {};
  try {
    const std::optional<Dim> dim = Parser(text, symbols).parse();
    return dim && !dim->known() && nonnegative(*dim) ? dim : std::nullopt;
  } catch (const Error&) {  // divided by zero, too large
    return {};
  }
}

}  // namespace octet
