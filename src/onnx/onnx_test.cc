#include "onnx/onnx.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "onnx.pb.h"
#include "ops/op_def.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

Graph import_text(const std::string& bytes, const fs::path& folder = ".") {
  return import_onnx(std::as_bytes(std::span<const char>(bytes)), "test.onnx", folder);
}

std::string error_of(const std::string& bytes, const fs::path& folder = ".") {
  try {
    import_text(bytes, folder);
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

// Removed with the test.
struct Folder {
  fs::path path;
  Folder() {
    std::string name = (fs::temp_directory_path() / "octet_onnx_XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path); }
};

ValueId ints(Graph& graph, std::string_view name, std::vector<int64_t> values) {
  return graph.add_constant(
      name, Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, std::span<const int64_t>(values)));
}

// Conv, Silu, Shape-derived Reshape, per-channel DequantizeLinear, Split.
Graph sample() {
  Graph graph;
  graph.name = "sample";
  graph.metadata["octet.preprocess"] = "rgb";
  const ValueId x = graph.add_input("x", DType::kFloat32, {Dim::symbol("N"), 3, Dim::symbol("H"), 8});
  std::vector<int8_t> weights(4 * 3 * 3 * 3);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<int8_t>(i * 7);
  const ValueId w =
      graph.add_constant("w", Tensor::of<int8_t>({4, 3, 3, 3}, std::span<const int8_t>(weights)));
  const ValueId scale = graph.add_constant("scale", Tensor::of<float>({4}, {0.1f, 0.2f, 0.3f, 0.4f}));
  Attributes axis, conv, split;
  axis.set("axis", int64_t{0});
  const ValueId dq = graph.add_op("DequantizeLinear", "w_dq", {w, scale}, "w_float", axis);
  conv.set("pads", std::vector<int64_t>{1, 1, 1, 1});
  conv.set("strides", std::vector<int64_t>{2, 2});
  const ValueId c = graph.add_op("Conv", "conv", {x, dq}, "c", conv);
  const ValueId s = graph.add_op("Silu", "silu", {c}, "s", {}, std::string(kOctetDomain));
  const ValueId shape = graph.add_op("Shape", "shape", {s}, "sizes");
  const ValueId batch = graph.add_op("Gather", "gather", {shape, ints(graph, "zero", {0})}, "batch");
  Attributes concat;
  concat.set("axis", int64_t{0});
  const ValueId wanted =
      graph.add_op("Concat", "concat", {batch, ints(graph, "rest", {4, -1})}, "wanted", concat);
  const ValueId flat = graph.add_op("Reshape", "reshape", {s, wanted}, "flat");
  split.set("axis", int64_t{1});
  const ValueId a = graph.add_value("a"), b = graph.add_value("b");
  graph.add_node("Split", "", "split", {flat}, {a, b}, split);
  graph.mark_output(a);
  graph.mark_output(b);
  infer_shapes(graph);
  return graph;
}

std::string shape_of(const Graph& graph, std::string_view name) {
  const auto value = graph.find_value(name);
  if (!value) return "no value";
  return graph.value(*value).shape ? to_string(*graph.value(*value).shape) : "unknown";
}

TEST(Onnx, RoundTrip) {
  const Graph graph = sample();
  EXPECT_EQ(shape_of(graph, "c"), "Nx4x" + (floor_div(Dim::symbol("H") - 1, 2) + 1).text() + "x4");
  const std::string bytes = export_onnx_bytes(graph);
  EXPECT_EQ(bytes, export_onnx_bytes(sample()));
  const Graph again = import_text(bytes);
  verify(again);
  EXPECT_EQ(again.name, "sample");
  EXPECT_EQ(again.metadata, graph.metadata);
  EXPECT_EQ(shape_of(again, "c"), shape_of(graph, "c"));
  EXPECT_EQ(shape_of(again, "a"), shape_of(graph, "a"));
  EXPECT_TRUE(again.find_node("silu_sigmoid"));
  EXPECT_EQ(again.node(*again.find_node("conv")).attributes.get_ints("strides"),
            (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(export_onnx_bytes(again), bytes);
}

TEST(Onnx, OpsetIsTheLowest) {
  const auto opset = [](const Graph& graph) {
    onnx_pb::ModelProto model;
    EXPECT_TRUE(model.ParseFromString(export_onnx_bytes(graph)));
    EXPECT_EQ(model.opset_import_size(), 1);
    return model.opset_import(0).version();
  };
  EXPECT_EQ(opset(sample()), 13);
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kFloat32, {1, 4});
  const ValueId scale = graph.add_constant("s", Tensor::scalar(0.5f));
  const ValueId zero = graph.add_constant("z", Tensor::scalar(int16_t{0}));
  graph.mark_output(graph.add_op("QuantizeLinear", "q", {x, scale, zero}, "y"));
  infer_shapes(graph);
  EXPECT_EQ(opset(graph), 21);
  Graph gelu;
  gelu.mark_output(gelu.add_op("Gelu", "g", {gelu.add_input("x", DType::kFloat32, {1})}, "y"));
  infer_shapes(gelu);
  EXPECT_EQ(opset(gelu), 20);
}

TEST(Onnx, OutputsThatNoNodeProduces) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kFloat32, {2});
  const ValueId k = graph.add_constant("k", Tensor::of<float>({2}, {1, 2}));
  const ValueId y = graph.add_op("Relu", "relu", {x}, "y");
  for (const ValueId v : {x, k, y}) graph.mark_output(v);
  infer_shapes(graph);
  const Graph again = import_text(export_onnx_bytes(graph));
  EXPECT_EQ(again.outputs().size(), 3u);
  EXPECT_EQ(shape_of(again, "k_1"), "2");
}

TEST(Onnx, TruncatedAtEveryLength) {
  const std::string bytes = export_onnx_bytes(sample());
  for (size_t n = 0; n < bytes.size(); ++n) {
    try {
      import_text(bytes.substr(0, n));
    } catch (const Error& error) {
      EXPECT_TRUE(error.message().starts_with("'test.onnx'")) << error.message();
    }
  }
}

TEST(Onnx, DamagedBytes) {
  const std::string good = export_onnx_bytes(sample());
  const unsigned seed = 20240607;
  std::mt19937 random(seed);
  for (int i = 0; i < 5000; ++i) {
    std::string bytes = good;
    for (unsigned n = random() % 4 + 1; n > 0; --n)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    try {
      export_onnx_bytes(import_text(bytes));
    } catch (const Error& error) {
      EXPECT_NE(error.code(), ErrorCode::kInternal) << error.message() << " (seed " << seed << ")";
    }
  }
}

TEST(Onnx, NotAModel) {
  EXPECT_NE(error_of("").find("is not an ONNX model"), std::string::npos);
  EXPECT_NE(error_of("hello, world, this is text").find("is not an ONNX model"), std::string::npos);
  EXPECT_NE(error_of(std::string(100, '\0')).find("is not an ONNX model"), std::string::npos);
  EXPECT_NE(error_of("\x08\x08").find("no graph"), std::string::npos);
}

// A model of which tests change one thing.
struct Model {
  onnx_pb::ModelProto proto;
  Model(int opset = 13) {
    proto.set_ir_version(7);
    auto& import = *proto.add_opset_import();
    import.set_version(opset);
    value(*graph().add_input(), "x", {2, 6});
    value(*graph().add_output(), "y", {});
  }
  onnx_pb::GraphProto& graph() { return *proto.mutable_graph(); }
  static void value(onnx_pb::ValueInfoProto& info, const std::string& name,
                    const std::vector<int64_t>& dims) {
    info.set_name(name);
    auto& type = *info.mutable_type()->mutable_tensor_type();
    type.set_elem_type(1);
    for (const int64_t d : dims) {
      auto& dim = *type.mutable_shape()->add_dim();
      if (d >= 0) dim.set_dim_value(d);
    }
  }
  onnx_pb::NodeProto& node(const std::string& op, const std::vector<std::string>& inputs,
                           const std::string& output) {
    auto& n = *graph().add_node();
    n.set_op_type(op);
    for (const auto& input : inputs) n.add_input(input);
    n.add_output(output);
    return n;
  }
  static void ints(onnx_pb::NodeProto& n, const std::string& name, const std::vector<int64_t>& values) {
    auto& a = *n.add_attribute();
    a.set_name(name);
    a.set_type(onnx_pb::AttributeProto::INTS);
    for (const int64_t v : values) a.add_ints(v);
  }
  static void number(onnx_pb::NodeProto& n, const std::string& name, float value) {
    auto& a = *n.add_attribute();
    a.set_name(name);
    a.set_type(onnx_pb::AttributeProto::FLOAT);
    a.set_f(value);
  }
  static void number(onnx_pb::NodeProto& n, const std::string& name, int64_t value) {
    auto& a = *n.add_attribute();
    a.set_name(name);
    a.set_type(onnx_pb::AttributeProto::INT);
    a.set_i(value);
  }
  onnx_pb::TensorProto& initializer(const std::string& name, int type, const std::vector<int64_t>& dims) {
    auto& t = *graph().add_initializer();
    t.set_name(name);
    t.set_data_type(type);
    for (const int64_t d : dims) t.add_dims(d);
    return t;
  }
  Graph import() const { return import_text(proto.SerializeAsString()); }
  std::string error() const { return error_of(proto.SerializeAsString()); }
};

// "?" twice is not one name.
TEST(Onnx, DimensionsWithoutNamesAreEachTheirOwn) {
  Model m;
  auto& shape = *m.graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape();
  shape.clear_dim();
  for (const char* name : {"?", "?", "-1", "None", "n", "n"}) shape.add_dim()->set_dim_param(name);
  m.node("Relu", {"x"}, "y");
  const Graph graph = m.import();
  const Dims& dims = *graph.value(graph.inputs()[0]).shape;
  for (size_t i = 0; i < 4; ++i)
    for (size_t j = 0; j < i; ++j) EXPECT_NE(dims[i], dims[j]) << i << " and " << j;
  EXPECT_EQ(dims[4], dims[5]);
}

TEST(Onnx, DimensionsMayBeExpressions) {
  Model m;
  auto& shape = *m.graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape();
  shape.clear_dim();
  for (const char* name : {"past", "n", "past + n", "2*n", "past + other", "other//2"})
    shape.add_dim()->set_dim_param(name);
  m.node("Relu", {"x"}, "y");
  const Graph graph = m.import();
  const Dim past = Dim::symbol("past"), n = Dim::symbol("n");
  EXPECT_EQ(*graph.value(graph.inputs()[0]).shape,
            (Dims{past, n, past + n, n * 2, Dim::symbol("past + other"), Dim::symbol("other//2")}))
      << "no input has a size 'other' by which it could be known";
}

TEST(Onnx, EveryUnsupportedNodeIsListed) {
  Model m;
  m.node("Foo", {"x"}, "a");
  m.node("Relu", {"a"}, "b").set_domain("com.example");
  Model::number(m.node("Relu", {"b"}, "c"), "slope", 1.0f);
  Model::ints(m.node("Transpose", {"c"}, "y"), "perm", {-1, 0});
  const std::string text = m.error();
  for (const auto* part : {"'Foo_0'", "com.example", "'Relu_2'", "'slope'", "'Transpose_3'", "'perm' is -1"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  Model many;
  for (int i = 0; i < 60; ++i) many.node("Foo", {"x"}, "y" + std::to_string(i));
  many.node("Relu", {"x"}, "y");
  EXPECT_NE(many.error().find("60 node(s): 'Foo_0', 'Foo_1', 'Foo_2' and 57 more"), std::string::npos)
      << many.error();
}

TEST(Onnx, StructureErrorsNameTheNode) {
  Model missing;
  missing.node("Relu", {"nowhere"}, "y").set_name("act");
  EXPECT_NE(missing.error().find("node 'act' (Relu) reads 'nowhere'"), std::string::npos) << missing.error();
  Model twice;
  twice.node("Relu", {"x"}, "y");
  twice.node("Neg", {"x"}, "y").set_name("second");
  EXPECT_NE(twice.error().find("node 'second' (Neg)"), std::string::npos) << twice.error();
  Model cycle;
  cycle.node("Relu", {"b"}, "a");
  cycle.node("Relu", {"a"}, "b");
  cycle.node("Relu", {"x"}, "y");
  EXPECT_NE(cycle.error().find("cycle"), std::string::npos) << cycle.error();
  Model output;
  EXPECT_NE(output.error().find("nothing produces the output 'y'"), std::string::npos) << output.error();
  Model old(5);
  old.node("Relu", {"x"}, "y");
  EXPECT_NE(old.error().find("opset 5"), std::string::npos);
}

TEST(Onnx, InitializerSizesAreChecked) {
  Model m;
  m.node("Add", {"x", "k"}, "y");
  auto& k = m.initializer("k", 1, {2, 6});
  k.set_raw_data(std::string(47, '\0'));
  EXPECT_NE(m.error().find("initializer 'k'"), std::string::npos) << m.error();
  k.set_raw_data(std::string(48, '\0'));
  EXPECT_EQ(shape_of(m.import(), "y"), "2x6");
  k.clear_raw_data();
  for (int i = 0; i < 12; ++i) k.add_float_data(1.5f);
  EXPECT_EQ(m.import().value(*m.import().find_value("k")).constant->as<float>()[11], 1.5f);
  k.add_float_data(0);
  EXPECT_NE(m.error().find("13 elements"), std::string::npos) << m.error();
  k.clear_dims();
  k.add_dims(int64_t{1} << 40);
  k.add_dims(int64_t{1} << 40);
  EXPECT_NE(m.error().find("overflow"), std::string::npos) << m.error();
  k.clear_dims();
  k.add_dims(-4);
  EXPECT_NE(m.error().find("negative"), std::string::npos) << m.error();
  k.set_data_type(8);
  EXPECT_NE(m.error().find("of node '' (Add): tensors of strings"), std::string::npos) << m.error();
}

TEST(Onnx, LargeInitializersAreViewsOfTheFile) {
  const Folder folder;
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kFloat32, {1, 64});
  std::vector<int8_t> values(64 * 128);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int8_t>(i);
  const ValueId q = graph.add_constant("q", Tensor::of<int8_t>({64, 128}, std::span<const int8_t>(values)));
  const ValueId scale = graph.add_constant("s", Tensor::scalar(0.5f));
  const ValueId w = graph.add_op("DequantizeLinear", "dq", {q, scale}, "w");
  graph.mark_output(graph.add_op("MatMul", "mm", {x, w}, "y"));
  infer_shapes(graph);
  export_onnx(graph, folder.path / "m.onnx");
  const Graph again = import_onnx(folder.path / "m.onnx");
  const Tensor& t = *again.value(*again.find_value("q")).constant;
  EXPECT_TRUE(std::ranges::equal(t.as<int8_t>(), values));
  const Graph copy = import_text(read_text(folder.path / "m.onnx"));
  EXPECT_EQ(export_onnx_bytes(copy), export_onnx_bytes(again));
}

TEST(Onnx, ExternalDataStaysInTheFolder) {
  const Folder folder;
  fs::create_directory(folder.path / "model");
  std::ofstream(folder.path / "model" / "w.bin") << std::string(64, 'a');
  std::ofstream(folder.path / "secret.bin") << std::string(64, 'b');
  fs::create_symlink("../secret.bin", folder.path / "model" / "link.bin");
  const auto attempt = [&](const std::string& location, const std::string& offset,
                           const std::string& length) {
    Model m;
    m.node("Add", {"x", "k"}, "y");
    auto& k = m.initializer("k", 1, {2, 6});
    k.set_data_location(onnx_pb::TensorProto::EXTERNAL);
    for (const auto& [key, value] :
         {std::pair("location", location), std::pair("offset", offset), std::pair("length", length)}) {
      if (value.empty()) continue;
      auto& entry = *k.add_external_data();
      entry.set_key(key);
      entry.set_value(value);
    }
    return error_of(m.proto.SerializeAsString(), folder.path / "model");
  };
  EXPECT_EQ(attempt("w.bin", "", ""), "no error");
  EXPECT_EQ(attempt("w.bin", "16", "48"), "no error");
  for (const auto& [location, offset, length] :
       std::initializer_list<std::array<const char*, 3>>{{"w.bin", "17", "48"},
                                                         {"w.bin", "16", "40"},
                                                         {"w.bin", "-1", ""},
                                                         {"w.bin", "99999999999999999999", ""},
                                                         {"link.bin", "", ""},
                                                         {"../secret.bin", "", ""},
                                                         {"/etc/passwd", "", ""},
                                                         {"", "", ""},
                                                         {"none.bin", "", ""},
                                                         {".", "", ""}})
    EXPECT_NE(attempt(location, offset, length).find("external data"), std::string::npos)
        << location << ": " << attempt(location, offset, length);
}

TEST(Onnx, OldFormsAreUpgraded) {
  Model m(9);
  auto& clip = m.node("Clip", {"x"}, "c");
  Model::number(clip, "max", 6.0f);
  auto& slice = m.node("Slice", {"c"}, "s");
  Model::ints(slice, "starts", {0});
  Model::ints(slice, "ends", {4});
  Model::ints(slice, "axes", {1});
  Model::ints(m.node("Unsqueeze", {"s"}, "u"), "axes", {0});
  Model::number(m.node("Softmax", {"u"}, "p"), "axis", int64_t{1});
  Model::number(m.node("Dropout", {"p"}, "d"), "ratio", 0.5f);
  auto& mean = m.node("ReduceMean", {"d"}, "y");
  Model::ints(mean, "axes", {-1});
  Model::number(mean, "keepdims", int64_t{0});
  const Graph graph = m.import();
  verify(graph);
  const Node& c = graph.node(*graph.find_node("Clip_0"));
  ASSERT_EQ(c.inputs.size(), 3u);
  EXPECT_EQ(c.inputs[1], kNoId);
  EXPECT_EQ(graph.value(c.inputs[2]).constant->as<float>()[0], 6.0f);
  EXPECT_EQ(shape_of(graph, "u"), "1x2x4");
  EXPECT_EQ(shape_of(graph, "p"), "1x2x4");
  EXPECT_EQ(shape_of(graph, "y"), "1x2");
  EXPECT_TRUE(graph.find_node("Softmax_3_flatten"));
  EXPECT_TRUE(graph.node(*graph.find_node("Dropout_4")).is("Identity"));
}

TEST(Onnx, UnnamedDimensionsGetSymbols) {
  Model m;
  Model::value(*m.graph().add_input(), "z", {-1, 6});
  m.node("Add", {"x", "z"}, "y");
  EXPECT_EQ(shape_of(m.import(), "z"), "z_d0x6");
  EXPECT_EQ(shape_of(m.import(), "y"), "2x6");
}

}  // namespace
}  // namespace octet
