#include "tensor/npy.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <cstring>

#include "base/file.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

template <typename T>
std::string little(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::string npy(const std::string& dictionary, const std::string& data, int version = 1) {
  std::string s = "\x93NUMPY";
  s += static_cast<char>(version);
  s += '\0';
  s += version == 1 ? little(static_cast<uint16_t>(dictionary.size()))
                    : little(static_cast<uint32_t>(dictionary.size()));
  return s + dictionary + data;
}

std::string deflated(const std::string& text) {
  std::string out(compressBound(text.size()) + 64, '\0');
  z_stream z{};
  deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(out.size() - z.avail_out);
  deflateEnd(&z);
  return out;
}

struct Entry {
  std::string name, content;
  bool deflate = false;
  int64_t declared = -1;
};

std::string npz(const std::vector<Entry>& entries) {
  std::string file, directory;
  for (const Entry& e : entries) {
    const std::string packed = e.deflate ? deflated(e.content) : e.content;
    const auto crc = static_cast<uint32_t>(
        crc32(0, reinterpret_cast<const Bytef*>(e.content.data()), static_cast<uInt>(e.content.size())));
    const auto size =
        static_cast<uint32_t>(e.declared >= 0 ? static_cast<size_t>(e.declared) : e.content.size());
    const std::string common = little<uint16_t>(20) + little<uint16_t>(0) +
                               little<uint16_t>(e.deflate ? 8 : 0) + little<uint32_t>(0) + little(crc) +
                               little(static_cast<uint32_t>(packed.size())) + little(size) +
                               little(static_cast<uint16_t>(e.name.size())) + little<uint16_t>(0);
    directory += little<uint32_t>(0x02014b50) + little<uint16_t>(20) + common + little<uint16_t>(0) +
                 little<uint32_t>(0) + little<uint32_t>(0) + little(static_cast<uint32_t>(file.size())) +
                 e.name;
    file += little<uint32_t>(0x04034b50) + common + e.name + packed;
  }
  const auto count = static_cast<uint16_t>(entries.size());
  return file + directory + little<uint32_t>(0x06054b50) + little<uint32_t>(0) + little(count) +
         little(count) + little(static_cast<uint32_t>(directory.size())) +
         little(static_cast<uint32_t>(file.size())) + little<uint16_t>(0);
}

Tensor parse(const std::string& file) {
  return parse_npy(bytes_of(file), "x.npy");
}
std::map<std::string, Tensor> parse_zip(const std::string& file) {
  return parse_npz(bytes_of(file), "x.npz");
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

TEST(Npy, RoundTrip) {
  std::string name = (fs::temp_directory_path() / "octet-npy-XXXXXX").string();
  const fs::path folder = mkdtemp(name.data());
  for (int d = 0; d < kDTypeCount; ++d) {
    const auto dtype = static_cast<DType>(d);
    for (const Shape& shape : {Shape{}, Shape{5}, Shape{2, 0, 3}, Shape{2, 3, 4}}) {
      Tensor t(dtype, shape);
      for (int64_t i = 0; i < t.bytes(); ++i)
        static_cast<char*>(t.raw())[i] = static_cast<char>(dtype == DType::kBool ? i % 2 : i);
      if (dtype_bits(dtype) == 4) {
        EXPECT_THROW(write_npy(folder / "t.npy", t), Error);
        continue;
      }
      write_npy(folder / "t.npy", t);
      const Tensor back = read_npy(folder / "t.npy");
      EXPECT_EQ(back.dtype(), dtype);
      EXPECT_EQ(back.shape(), shape);
      EXPECT_EQ(std::memcmp(back.raw(), t.raw(), static_cast<size_t>(t.bytes())), 0);
      EXPECT_EQ(parse_npy_header(MappedFile(folder / "t.npy").bytes(), "").data_offset % 64, 0u);
    }
  }
  fs::remove_all(folder);
}

TEST(Npy, OrdersVersionsAndSpelling) {
  const std::string data("\1\2\3\4\5\6", 6);
  const Tensor f = parse(npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }\n", data));
  EXPECT_EQ(to_int64(f), (std::vector<int64_t>{1, 3, 5, 2, 4, 6}));
  EXPECT_EQ(parse(npy("{'shape': (6,), \"descr\": '<u1', 'fortran_order': False}", data, 2)).shape(),
            Shape{6});
  EXPECT_EQ(parse(npy("{'descr': '<u2', 'fortran_order': True, 'shape': (3L,)}", data, 3)).as<uint16_t>()[1],
            0x403);
  EXPECT_EQ(to_int64(parse(npy("{'descr': '|b1', 'fortran_order': False, 'shape': (6,), }", data)))[5], 1);
}

TEST(Npy, HostileFiles) {
  const auto header = [](const std::string& descr, const std::string& shape) {
    return "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }\n";
  };
  const std::string good = npy(header("<f4", "(2,)"), std::string(8, '\0'));
  EXPECT_NO_THROW(parse(good));
  for (size_t cut = 0; cut < good.size(); ++cut) EXPECT_THROW(parse(good.substr(0, cut)), Error) << cut;
  for (size_t i = 0; i < good.size(); ++i)
    for (char flip : {'\1', '\x80', '\x20', '\x55'}) {
      std::string damaged = good;
      damaged[i] = static_cast<char>(damaged[i] ^ flip);
      try {
        parse(damaged);
      } catch (const Error&) {
      }
    }
  for (const char* shape : {"(99999999999999999999,)", "(-2,)", "(4611686018427387904, 4611686018427387904)",
                            "(2", "2", "(,)", "(2,,)", "(1000000000000,)", "('a',)", "(3,)", "(1,)"})
    EXPECT_THROW(parse(npy(header("<f4", shape), std::string(8, '\0'))), Error) << shape;
  for (const char* descr : {">f4", "<c8", "|O", "<U3", "<f16", ""})
    EXPECT_THROW(parse(npy(header(descr, "(2,)"), std::string(8, '\0'))), Error) << descr;
  EXPECT_NE(error_of([&] { parse(npy(header(">f4", "(2,)"), std::string(8, '\0'))); }).find("big-endian"),
            std::string::npos);
  EXPECT_THROW(parse(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", "")), Error);
}

TEST(Npz, StoredAndDeflated) {
  const std::string a = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }", "abc");
  const std::string b =
      npy("{'descr': '|i1', 'fortran_order': False, 'shape': (2, 50000), }", std::string(100000, '\7'));
  const auto arrays = parse_zip(npz({{"a.npy", a}, {"b.npy", b, true}}));
  ASSERT_EQ(arrays.size(), 2u);
  EXPECT_EQ(arrays.at("a").as<uint8_t>()[2], 'c');
  EXPECT_EQ(arrays.at("b").shape(), (Shape{2, 50000}));
  EXPECT_EQ(arrays.at("b").as<int8_t>()[99999], 7);
}

TEST(Npz, HostileFiles) {
  const std::string a =
      npy("{'descr': '|u1', 'fortran_order': False, 'shape': (300,), }", std::string(300, 'x'));
  EXPECT_THROW(parse_zip(npz({{"a.npy", a}, {"a.npy", a}})), Error);
  EXPECT_THROW(parse_zip(npz({{"a.txt", a}})), Error);
  EXPECT_THROW(parse_zip(npz({{"a.npy", a, false, 5}})), Error);
  EXPECT_THROW(parse_zip(npz({{"a.npy", a, true, 5}})), Error);
  EXPECT_THROW(parse_zip(npz({{"a.npy", a, true, 1000}})), Error);
  EXPECT_NE(error_of([&] {
              parse_zip(npz({{"a.npy", a, true, 2'000'000'000}}));
            }).find("declared"),
            std::string::npos);
  EXPECT_THROW(parse_zip("not a zip file, but long enough"), Error);
  for (bool deflate : {false, true}) {
    const std::string good = npz({{"a.npy", a, deflate}});
    for (size_t cut = 0; cut < good.size(); ++cut) EXPECT_THROW(parse_zip(good.substr(0, cut)), Error) << cut;
    for (size_t i = 0; i < good.size(); ++i)
      for (char flip : {'\1', '\x80', '\xff'}) {
        std::string damaged = good;
        damaged[i] = static_cast<char>(damaged[i] ^ flip);
        try {
          parse_zip(damaged);
        } catch (const Error&) {
        }
      }
  }
}

}  // namespace
}  // namespace octet
