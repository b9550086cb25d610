#include "data/dataset.h"

#include <thread>

#include "data/labels.h"
#include "data/test_files.h"
#include "tensor/npy.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

class Data : public TestFolder {
 protected:
  std::unique_ptr<Dataset> open(const std::string& name = "", bool skip_bad = false,
                                int64_t limit = 0) const {
    return open_data(folder_ / name, {.preprocess = "stretch=8x6", .limit = limit, .skip_bad = skip_bad});
  }
  static Tensor ramp(Shape shape) {
    Tensor t(DType::kFloat32, std::move(shape));
    for (size_t i = 0; i < t.as<float>().size(); ++i) t.as<float>()[i] = static_cast<float>(i);
    return t;
  }
};

TEST_F(Data, FolderOfImages) {
  put("b.PNG", encoded(picture(20, 10), ".png"));
  put("sub/a.jpg", encoded(picture(30, 10), ".jpg"));
  put("a.bmp", encoded(picture(10, 10), ".bmp"));
  put("labels.txt", "a.bmp 1\n");
  put(".hidden.jpg", "no image");
  put(".cache/x.jpg", "no image");
  const auto data = open();
  ASSERT_EQ(data->size(), 3);
  EXPECT_EQ(data->name(0), "a.bmp");
  EXPECT_EQ(data->name(1), "b.PNG");
  EXPECT_EQ(data->name(2), "sub/a.jpg");
  EXPECT_TRUE(data->images());
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(data->load(i).inputs.at("").shape(), (Shape{1, 3, 6, 8}));
  EXPECT_EQ(open("", false, 2)->size(), 2);
  const auto bytes = open_data(folder_, {.preprocess = "stretch=8x6 gray", .bytes = true});
  EXPECT_EQ(bytes->load(0).inputs.at("").shape(), (Shape{1, 6, 8, 1}));
  EXPECT_THROW(data->load(3), Error);
}

TEST_F(Data, LinksLeadingOutAreSkipped) {
  put("in/a.png", encoded(picture(9, 9), ".png"));
  put("out/b.png", encoded(picture(9, 9), ".png"));
  fs::create_symlink("a.png", folder_ / "in/link.png");
  fs::create_symlink("../out/b.png", folder_ / "in/leaves.png");
  fs::create_directory_symlink("../out", folder_ / "in/folder");
  fs::create_symlink("nowhere.png", folder_ / "in/dangling.png");
  const auto data = open("in");
  ASSERT_EQ(data->size(), 2);
  EXPECT_EQ(data->name(1), "link.png");
  fs::create_directory(folder_ / "links");
  fs::create_symlink("../out/b.png", folder_ / "links/b.png");
  EXPECT_TRUE(contains(error_of([&] { open("links"); }), "1 symbolic links"));
}

TEST_F(Data, BadImages) {
  put("a.jpg", encoded(picture(9, 9), ".jpg"));
  put("b.jpg", encoded(picture(9, 9), ".jpg").substr(0, 400));
  EXPECT_TRUE(contains(error_of([&] { open()->load(1); }), "b.jpg': truncated (no end marker)"));
  const auto data = open("", true);
  EXPECT_FALSE(data->load(0).bad);
  const Sample bad = data->load(1);
  EXPECT_TRUE(bad.bad);
  EXPECT_TRUE(bad.inputs.empty());
  EXPECT_TRUE(contains(bad.reason, "truncated"));
  EXPECT_TRUE(contains(error_of([&] { open_data(folder_, {.preprocess = "crop=10"})->load(0); }),
                       "a.jpg': crop=10x10"));
}

TEST_F(Data, Refused) {
  EXPECT_TRUE(contains(error_of([&] { open("nothing"); }), "no such file"));
  EXPECT_TRUE(contains(error_of([&] { open(""); }), "holds no images"));
  put("a.jpg", encoded(picture(9, 9), ".jpg"));
  EXPECT_TRUE(contains(error_of([&] { open_data(folder_); }), "--preprocess"));
  EXPECT_THROW(open_data(folder_, {.preprocess = "nonsense"}), Error);
  EXPECT_THROW(open("", false, -1), Error);
  write_npy(folder_ / "a.npy", ramp({2}));
  EXPECT_TRUE(contains(error_of([&] { open(""); }), "as well as arrays"));
  put("a.xyz", "");
  EXPECT_TRUE(contains(error_of([&] { open("a.xyz"); }), "no data"));
}

TEST_F(Data, List) {
  put("pictures/a b.jpg", encoded(picture(9, 9), ".jpg"));
  put("c.png", encoded(picture(9, 9), ".png"));
  put("list.txt", "c.png\r\n\n./pictures/a b.jpg\n");
  const auto data = open("list.txt");
  ASSERT_EQ(data->size(), 2);
  EXPECT_EQ(data->name(0), "c.png");
  EXPECT_EQ(data->name(1), "pictures/a b.jpg");
  EXPECT_FALSE(data->load(1).bad);
  put("list.txt", "c.png\n\nmissing.jpg\n");
  EXPECT_TRUE(contains(error_of([&] { open("list.txt"); }), "list.txt:3: no such file 'missing.jpg'"));
  put("list.txt", "\n \n");
  EXPECT_TRUE(contains(error_of([&] { open("list.txt"); }), "empty"));
  EXPECT_EQ(open("c.png")->size(), 1);
}

TEST_F(Data, ArrayFile) {
  write_npy(folder_ / "a.npy", ramp({3, 2, 2}));
  const auto data = open_data(folder_ / "a.npy");
  ASSERT_EQ(data->size(), 3);
  EXPECT_FALSE(data->images());
  EXPECT_EQ(data->name(2), "a.npy:2");
  const Tensor t = data->load(2).inputs.at("");
  EXPECT_EQ(t.shape(), (Shape{1, 2, 2}));
  EXPECT_EQ(t.as<float>()[0], 8);
  EXPECT_EQ(open_data(folder_ / "a.npy", {.limit = 2})->size(), 2);
  write_npy(folder_ / "a.npy", ramp({}));
  EXPECT_TRUE(contains(error_of([&] { open_data(folder_ / "a.npy"); }), "scalar"));
  write_npy(folder_ / "a.npy", ramp({0, 4}));
  EXPECT_TRUE(contains(error_of([&] { open_data(folder_ / "a.npy"); }), "no samples"));
  put("a.npy", npy_header(DType::kFloat32, {1'000'000, 1'000'000}));
  EXPECT_TRUE(contains(error_of([&] { open_data(folder_ / "a.npy"); }), "0 bytes of elements"));
}

TEST_F(Data, FolderOfArrays) {
  write_npy(folder_ / "s/1.npy", [&] {
    fs::create_directory(folder_ / "s");
    return ramp({2, 2});
  }());
  write_npy(folder_ / "s/0.npy", ramp({1, 7}));
  const auto data = open_data(folder_ / "s", {.preprocess = "short=3"});
  ASSERT_EQ(data->size(), 2);
  EXPECT_EQ(data->load(0).inputs.at("").shape(), (Shape{1, 7}));
  EXPECT_EQ(data->load(1).inputs.at("").shape(), (Shape{2, 2}));
}

TEST_F(Data, HashDependsOnContentOnly) {
  for (int i = 0; i < 12; ++i)
    put("a/" + std::to_string(i) + ".jpg", encoded(picture(16, 16, static_cast<unsigned>(i)), ".jpg"));
  fs::copy(folder_ / "a", folder_ / "b");
  const auto untouched = open("a"), loaded = open("b");
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      for (int64_t i = loaded->size(); i-- > 0;)
        if (i % 3 == t) loaded->load(i);
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(untouched->content_hash(), loaded->content_hash());
  EXPECT_NE(open("a", false, 11)->content_hash(), loaded->content_hash());
  // Nothing is read again: the files may be gone.
  fs::remove_all(folder_ / "b");
  EXPECT_EQ(untouched->content_hash(), loaded->content_hash());
  fs::rename(folder_ / "a/3.jpg", folder_ / "a/3b.jpg");
  EXPECT_NE(open("a")->content_hash(), loaded->content_hash());
  write_npy(folder_ / "x.npy", ramp({3, 4}));
  const auto array = open_data(folder_ / "x.npy"), second = open_data(folder_ / "x.npy");
  second->load(1);
  EXPECT_EQ(array->content_hash(), second->content_hash());
}

TEST_F(Data, Labels) {
  put("x/a.jpg", encoded(picture(9, 9), ".jpg"));
  put("y/b c.jpg", encoded(picture(9, 9), ".jpg"));
  put("y/d.jpg", encoded(picture(9, 9), ".jpg"));
  put("labels.txt", "a.jpg 3\r\n\n  y/b c.jpg\t 7 \nelsewhere.jpg 1\n");
  const auto labels = read_labels(folder_ / "labels.txt");
  ASSERT_EQ(labels.size(), 3u);
  EXPECT_EQ(labels[1].file, "y/b c.jpg");
  EXPECT_EQ(match_labels(*open(), labels), (std::vector<int64_t>{3, 7, -1}));
  EXPECT_TRUE(contains(error_of([&] { match_labels(*open(), {{"z.jpg", 1}}); }), "no sample has a label"));
  EXPECT_THROW(match_labels(*open(), {{"a.jpg", 1}, {"a.jpg", 2}}), Error);
  EXPECT_EQ(match_labels(*open(), {{"p/a.jpg", 1}, {"q/a.jpg", 2}, {"d.jpg", 4}}),
            (std::vector<int64_t>{-1, -1, 4}));
  for (const char* bad : {"a.jpg", "a.jpg x", "a.jpg -1", "a.jpg 1.5", "a.jpg 99999999999999999999"}) {
    put("labels.txt", std::string("a.jpg 1\n") + bad + "\n");
    EXPECT_TRUE(contains(error_of([&] { read_labels(folder_ / "labels.txt"); }), "labels.txt:2: found '"))
        << bad;
  }
}

}  // namespace
}  // namespace octet
