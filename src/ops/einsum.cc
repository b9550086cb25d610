// Einsum becomes transposes, matrix products and sums, which all that follows knows.
#include <algorithm>
#include <map>

#include "ops/support.h"

namespace octet {
namespace {

// A label is a letter, or a digit for a dimension of the ellipsis: '0' is the last of them.
using Labels = std::string;
constexpr int64_t kMostEllipsis = 10;

struct Term {
  ValueId value;
  Labels labels;  // of its dimensions
};

bool has(const Labels& labels, char c) {
  return labels.find(c) != Labels::npos;
}

Labels both(const Labels& a, const Labels& b) {
  Labels result;
  std::ranges::copy_if(a, std::back_inserter(result), [&](char c) { return has(b, c); });
  return result;
}

Labels without(const Labels& a, const Labels& b) {
  Labels result;
  std::ranges::copy_if(a, std::back_inserter(result), [&](char c) { return !has(b, c); });
  return result;
}

class Rewriter {
 public:
  Rewriter(Graph& graph, NodeId id) : graph_(graph), id_(id), node_(graph.node(id)) {}

  void run() {
    std::vector<Term> terms = read_terms();
    Term result = terms[0];
    for (size_t i = 1; i < terms.size(); ++i) {
      Labels later = output_;
      for (size_t j = i + 1; j < terms.size(); ++j) later += terms[j].labels;
      result = multiply(result, terms[i], later);
    }
    result = arrange(add_up(result, output_), output_);
    const ValueId y = node_.outputs[0];
    graph_.remove_node(id_);
    graph_.add_node("Identity", "", node_.name, {result.value}, {y});
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail_node(graph_, id_,
              fmt::format("the equation '{}' {}", node_.attributes.get_string("equation", ""), what));
  }

  // The labels of each input, and output_.
  std::vector<Term> read_terms() {
    std::string equation = node_.attributes.get_string("equation", "");
    std::erase(equation, ' ');
    const size_t arrow = equation.find("->");
    const std::string left = equation.substr(0, arrow);
    std::vector<Term> terms;
    size_t begin = 0;
    int64_t most = 0;  // dimensions of an ellipsis
    for (const ValueId input : node_.inputs) {
      if (input == kNoId || begin > left.size()) refuse("does not have one term for each input");
      const size_t end = std::min(left.find(',', begin), left.size());
      const std::string term = left.substr(begin, end - begin);
      begin = end + 1;
      const auto& shape = graph_.value(input).shape;
      int64_t more = 0;
      if (term.find("...") != std::string::npos) {
        if (!shape) refuse("has an ellipsis for an input whose rank is not known");
        more = static_cast<int64_t>(shape->size()) - static_cast<int64_t>(term.size()) + 3;
      }
      if (more < 0 || more > kMostEllipsis) refuse("does not fit the rank of an input");
      most = std::max(most, more);
      terms.push_back({input, expand(term, more)});
      if (shape && shape->size() != terms.back().labels.size()) refuse("does not fit the rank of an input");
      for (size_t i = 0; shape && i < shape->size(); ++i) note_size(terms.back().labels[i], (*shape)[i]);
    }
    if (begin <= left.size()) refuse("does not have one term for each input");
    output_ =
        arrow == std::string::npos ? implicit_output(terms, most) : expand(equation.substr(arrow + 2), most);
    for (const char c : output_)
      if (std::ranges::none_of(terms, [&](const Term& t) { return has(t.labels, c); }))
        refuse(fmt::format("has '{}' behind the arrow alone", c));
    return terms;
  }

  Labels expand(const std::string& term, int64_t ellipsis) const {
    Labels labels;
    for (size_t i = 0; i < term.size(); ++i) {
      if (term.compare(i, 3, "...") == 0) {
        for (int64_t k = ellipsis; k-- > 0;) labels += static_cast<char>('0' + k);
        i += 2;
      } else if ((term[i] >= 'a' && term[i] <= 'z') || (term[i] >= 'A' && term[i] <= 'Z')) {
        labels += term[i];
      } else {
        refuse(fmt::format("has '{}' where a letter or '...' is expected", term[i]));
      }
    }
    for (const char c : labels)
      if (std::ranges::count(labels, c) > 1)
        refuse(fmt::format("repeats '{}' in one term, which is not supported", c));
    return labels;
  }

  // The ellipsis, then what occurs once, by the alphabet.
  static Labels implicit_output(const std::vector<Term>& terms, int64_t ellipsis) {
    std::map<char, int> count;
    for (const Term& t : terms)
      for (const char c : t.labels) ++count[c];
    Labels output;
    for (int64_t k = ellipsis; k-- > 0;) output += static_cast<char>('0' + k);
    for (const auto& [c, times] : count)
      if (times == 1 && c > '9') output += c;
    return output;
  }

  // Of a size that is 1 here and not there, the other counts.
  void note_size(char label, const Dim& dim) {
    const auto [at, fresh] = sizes_.emplace(label, dim);
    if (!fresh && (!at->second.known() || at->second.value() == 1)) at->second = dim;
  }
  // -1: not known.
  int64_t size_of(const Labels& labels) const {
    int64_t size = 1;
    for (const char c : labels) {
      const auto found = sizes_.find(c);
      if (found == sizes_.end() || !found->second.known()) return -1;
      if (__builtin_mul_overflow(size, found->second.value(), &size))
        refuse("has a product of sizes above 2^63");
    }
    return size;
  }

  ValueId add(const std::string& op, std::vector<ValueId> inputs, Attributes attributes = {}) {
    const std::string name = fmt::format("{}_{}", node_.name, op);
    return graph_.add_op(op, name, std::move(inputs), name, std::move(attributes));
  }
  ValueId ints(const std::vector<int64_t>& values) { return add_ints(graph_, node_.name + "_sizes", values); }

  // Without the labels that `keep` does not have.
  Term add_up(const Term& t, const Labels& keep) {
    std::vector<int64_t> axes;
    for (size_t i = 0; i < t.labels.size(); ++i)
      if (!has(keep, t.labels[i])) axes.push_back(static_cast<int64_t>(i));
    if (axes.empty()) return t;
    Attributes attributes;
    attributes.set("keepdims", int64_t{0});
    return {add("ReduceSum", {t.value, ints(axes)}, attributes), both(t.labels, keep)};
  }

  // With its dimensions in this order, which may have more: these are 1.
  Term arrange(const Term& t, const Labels& order) {
    const Labels own = both(order, t.labels);
    ValueId value = t.value;
    if (own != t.labels) {
      std::vector<int64_t> perm;
      for (const char c : own) perm.push_back(static_cast<int64_t>(t.labels.find(c)));
      Attributes attributes;
      attributes.set("perm", std::move(perm));
      value = add("Transpose", {value}, std::move(attributes));
    }
    std::vector<int64_t> axes;
    for (size_t i = 0; i < order.size(); ++i)
      if (!has(own, order[i])) axes.push_back(static_cast<int64_t>(i));
    return {axes.empty() ? value : add("Unsqueeze", {value, ints(axes)}), order};
  }

  // The product of two terms, summed over what `later` does not need.
  Term multiply(Term a, Term b, const Labels& later) {
    if (graph_.is_constant(a.value)) std::swap(a, b);  // weights stand behind
    a = add_up(a, later + b.labels);
    b = add_up(b, later + a.labels);
    const Labels shared = both(a.labels, b.labels), batch = both(shared, later),
                 inner = without(shared, later);
    const Labels rows = without(a.labels, shared), columns = without(b.labels, shared);
    if (inner.empty()) {
      const Labels all = batch + rows + columns;
      return {add("Mul", {arrange(a, all).value, arrange(b, all).value}), all};
    }
    // Rows but the last are further matrices, which a product repeats b for.
    const Labels further = batch.empty() || rows.empty() ? "" : rows.substr(0, rows.size() - 1);
    ValueId left = arrange(a, batch + rows + inner).value, right = arrange(b, batch + inner + columns).value;
    if (inner.size() > 1) {
      std::vector<int64_t> shape(batch.size() + rows.size(), 0);  // as they are
      shape.push_back(-1);
      left = add("Reshape", {left, ints(shape)});
    }
    if (inner.size() > 1 || columns.size() > 1) {
      std::vector<int64_t> shape(batch.size(), 0);
      shape.push_back(size_of(inner));
      if (!columns.empty()) shape.push_back(size_of(columns));
      if (std::ranges::count(shape, -1) > 1) refuse("joins dimensions of sizes that are not known");
      right = add("Reshape", {right, ints(shape)});
    }
    if (rows.empty()) left = add("Unsqueeze", {left, ints({static_cast<int64_t>(batch.size())})});
    if (columns.empty()) right = add("Unsqueeze", {right, ints({-1})});
    if (!further.empty()) {
      std::vector<int64_t> axes;
      for (size_t i = 0; i < further.size(); ++i) axes.push_back(static_cast<int64_t>(batch.size() + i));
      right = add("Unsqueeze", {right, ints(axes)});
    }
    ValueId product = add("MatMul", {left, right});
    if (rows.empty() || columns.empty()) {
      std::vector<int64_t> axes;
      if (rows.empty()) axes.push_back(-2);
      if (columns.empty()) axes.push_back(-1);
      product = add("Squeeze", {product, ints(axes)});
    }
    if (columns.size() > 1) {
      std::vector<int64_t> shape(batch.size() + rows.size(), 0);
      for (const char c : columns) shape.push_back(size_of({c}));
      if (std::ranges::count(shape, -1) > 1) refuse("joins dimensions of sizes that are not known");
      product = add("Reshape", {product, ints(shape)});
    }
    return {product, batch + rows + columns};
  }

  Graph& graph_;
  NodeId id_;
  const Node node_;  // a copy: the graph changes
  Labels output_;
  std::map<char, Dim> sizes_;
};

void upgrade(Graph& graph, NodeId id, int /*opset*/) {
  Rewriter(graph, id).run();
}

}  // namespace

std::span<const OpDef> einsum_ops() {
  static const OpDef ops[] = {
      {.name = "Einsum",
       .since = 12,
       .max_inputs = 64,
       .attributes =
           {{.name = "equation", .kind = AttributeKind::kString, .required = true, .until = kNewestOpset}},
       .upgrade = upgrade,
       .upgrade_needs_shapes = true}};
  return ops;
}

}  // namespace octet
