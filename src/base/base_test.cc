#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>

#include "base/checked.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/pages.h"
#include "base/progress.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

class Files : public testing::Test {
 protected:
  Files() {
    std::string name = (fs::temp_directory_path() / "octet-base-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~Files() override { fs::remove_all(folder_); }
  void put(const std::string& name, const std::string& text) { std::ofstream(folder_ / name) << text; }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  fs::path folder_;
};

template <typename F>
std::string message_of(F&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Checked, Overflow) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(checked_add(2, 3), 5);
  EXPECT_THROW(checked_add(kMax, 1), Error);
  EXPECT_THROW(checked_mul(kMax / 2, 3), Error);
  EXPECT_EQ(checked_product(std::vector<int64_t>{2, 3, 4}), 24);
  EXPECT_THROW(checked_product(std::vector<int64_t>{2, -3}), Error);
  EXPECT_EQ(round_up(65, 64), 128);
}

TEST(Cpu, Environment) {
  const char* old = std::getenv("OCTET_ISA");
  const std::string saved = old ? old : "";
  setenv("OCTET_ISA", "reference", 1);
  EXPECT_EQ(current_isa(), Isa::kReference);
  setenv("OCTET_ISA", "pentium", 1);
  EXPECT_TRUE(contains(message_of(current_isa), "possible here: reference"));
  for (const auto& [isa, name] : {std::pair{Isa::kAmx, "amx"}, {Isa::kAvxVnni, "avxvnni"}}) {
    setenv("OCTET_ISA", name, 1);
    if (has_isa(isa))
      EXPECT_EQ(current_isa(), isa);
    else
      EXPECT_TRUE(contains(message_of(current_isa), "lacks"));
  }
  unsetenv("OCTET_ISA");
  EXPECT_EQ(current_isa(), best_isa());
  if (old) setenv("OCTET_ISA", saved.c_str(), 1);
  EXPECT_EQ(isa_name(Isa::kAvx512VnniVbmi), "avx512vnni-vbmi");
}

TEST(Cpu, SetsOfInstructions) {
  EXPECT_TRUE(contains(Isa::kAmx, Isa::kAvx512Vnni));
  EXPECT_FALSE(contains(Isa::kAvx2, Isa::kAvx512Vnni));
  EXPECT_TRUE(contains(Isa::kAvxVnni, Isa::kAvxVnni));
  EXPECT_TRUE(contains(Isa::kAvxVnni, Isa::kAvx2));
  EXPECT_FALSE(contains(Isa::kAvx2, Isa::kAvxVnni));
  EXPECT_FALSE(contains(Isa::kAvx512VnniVbmi, Isa::kAvxVnni)) << "Zen 4";
  const std::vector<Isa> isas = possible_isas();
  EXPECT_EQ(isas.front(), Isa::kReference);
  EXPECT_EQ(isas.back(), best_isa());
  for (const Isa isa : isas)
    for (const Isa part :
         {Isa::kReference, Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512Vnni, Isa::kAvx512VnniVbmi})
      EXPECT_TRUE(has_isa(part) || !contains(isa, part)) << isa_name(isa) << " " << isa_name(part);
}

TEST_F(Files, MapsAndCopiesShareTheMapping) {
  put("a", "hello");
  std::span<const std::byte> bytes;
  MappedFile copy = [&] { return MappedFile(folder_ / "a"); }();
  bytes = copy.bytes();
  ASSERT_EQ(bytes.size(), 5u);
  EXPECT_EQ(static_cast<char>(bytes[1]), 'e');
  EXPECT_EQ(copy.path(), folder_ / "a");
  put("empty", "");
  EXPECT_TRUE(MappedFile(folder_ / "empty").bytes().empty());
}

TEST_F(Files, MapRefuses) {
  const auto open = [&](const char* name) { return message_of([&] { MappedFile(folder_ / name); }); };
  EXPECT_EQ(open("x.onnx"), "cannot open '" + (folder_ / "x.onnx").string() + "': no such file");
  EXPECT_TRUE(contains(open("."), "folder"));
  ASSERT_EQ(mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_TRUE(contains(open("pipe"), "not a regular file"));
}

TEST_F(Files, AtomicWriteReplacesOnlyOnCommit) {
  put("out", "old");
  {
    AtomicFile file(folder_ / "out");
    file.write("never seen");
    EXPECT_EQ(entries(), 2u);
  }
  EXPECT_EQ(entries(), 1u);
  EXPECT_EQ(read_text(folder_ / "out"), "old");
  AtomicFile file(folder_ / "out");
  file.write("new ");
  file.write(std::as_bytes(std::span("text", 4)));
  EXPECT_EQ(file.written(), 8);
  EXPECT_EQ(read_text(folder_ / "out"), "old");
  file.commit();
  EXPECT_EQ(read_text(folder_ / "out"), "new text");
  EXPECT_EQ(entries(), 1u);
  EXPECT_THROW(file.commit(), Error);
  const mode_t mask = umask(0);
  umask(mask);
  struct stat info {};
  ASSERT_EQ(stat((folder_ / "out").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0666 & ~mask);
}

TEST_F(Files, AtomicWriteFollowsLinks) {
  put("real", "old");
  fs::create_symlink("real", folder_ / "link");
  AtomicFile file(folder_ / "link");
  file.write("new");
  file.commit();
  EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
  EXPECT_EQ(read_text(folder_ / "real"), "new");
}

TEST_F(Files, AtomicWriteErrors) {
  EXPECT_TRUE(contains(message_of([&] { AtomicFile(folder_ / "no" / "x"); }), "does not exist"));
  EXPECT_TRUE(contains(message_of([&] { AtomicFile file(folder_); }), "folder"));
  EXPECT_THROW(AtomicFile(fs::path("")), Error);
  EXPECT_EQ(entries(), 0u);
}

TEST_F(Files, DevicesAreWrittenDirectly) {
  AtomicFile null("/dev/null");
  null.write("gone");
  null.commit();
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_EQ(message_of([] {
              AtomicFile full("/dev/full");
              full.write("text");
              full.commit();
            }),
            "cannot write '/dev/full': No space left on device");
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST_F(Files, ReadText) {
  put("text", "0123456789");
  EXPECT_EQ(read_text(folder_ / "text", 10), "0123456789");
  EXPECT_TRUE(contains(message_of([&] { read_text(folder_ / "text", 9); }), "too large"));
  EXPECT_TRUE(contains(message_of([&] { read_text(folder_); }), "folder"));
  EXPECT_TRUE(contains(message_of([&] { read_text(folder_ / "no"); }), "no such file"));
}

TEST(FileNames, Safe) {
  EXPECT_EQ(safe_file_name("a/b:c.npy"), "a_b_c.npy");
  EXPECT_EQ(safe_file_name(""), "_");
  EXPECT_EQ(safe_file_name("."), "_");
  EXPECT_EQ(safe_file_name(".."), "__");
  EXPECT_EQ(safe_file_name("\xc3\xa4"), "__");
  EXPECT_EQ(safe_file_name(std::string(300, 'a') + "/end"), std::string(196, 'a') + "_end");
}

TEST(ProgressBar, SilentWithoutTerminal) {
  no_progress().start("x", 10, "images");
  no_progress().advance();
  no_progress().finish();
  const auto progress = terminal_progress(true);
  progress->start("calibrating", 2, "images");
  progress->advance(2);
  progress->finish();
}

TEST(Pages, CopiesOfTheRightSizesAreEqual) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("octet_pages_" + std::to_string(::getpid()));
  std::string bytes((5 << 20) + 321, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 2654435761u >> 13);
  std::ofstream(path, std::ios::binary) << bytes;
  const MappedFile file(path);
  std::filesystem::remove(path);
  const auto copy = copy_in_large_pages(file.bytes());
  ASSERT_NE(copy, nullptr);
  EXPECT_TRUE(std::equal(file.bytes().begin(), file.bytes().end(), copy.get()));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(copy.get()) % 4096, 0u);
  EXPECT_EQ(copy_in_large_pages(file.bytes().first(1 << 20)), nullptr);
}

}  // namespace
}  // namespace octet
