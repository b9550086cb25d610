#include "data/image.h"

#include <map>
#include <opencv2/imgproc.hpp>

#include "data/jpeg.h"
#include "data/test_files.h"

namespace octet {
namespace {

class Images : public TestFolder {
 protected:
  Images() { quiet_opencv(); }
  static std::string refuse(const std::string& content) {
    return error_of([&] { decode_image(bytes_of(content), "x"); });
  }
};

TEST_F(Images, EveryFormatGivesWhatImreadGives) {
  for (const char* extension : {".jpg", ".png", ".bmp", ".webp", ".ppm", ".tif"}) {
    const std::string content = encoded(picture(37, 23), extension);
    put(std::string("a") + extension, content);
    const ImageInfo info = check_image(bytes_of(content), "x");
    EXPECT_EQ(info.width, 37) << extension;
    EXPECT_EQ(info.height, 23) << extension;
    const cv::Mat image = decode_image(bytes_of(content), "x");
    const cv::Mat expected = cv::imread((folder_ / (std::string("a") + extension)).string());
    ASSERT_EQ(image.size(), expected.size());
    EXPECT_EQ(cv::norm(image, expected, cv::NORM_INF), 0) << extension;
  }
}

TEST_F(Images, GrayAndAlphaBecomeBgr) {
  cv::Mat gray(5, 6, CV_8U, cv::Scalar(77)), alpha(5, 6, CV_8UC4, cv::Scalar(1, 2, 3, 4)),
      deep(5, 6, CV_16UC3, cv::Scalar::all(256 * 9));
  EXPECT_EQ(decode_image(bytes_of(encoded(gray, ".png")), "x").at<cv::Vec3b>(2, 2), (cv::Vec3b{77, 77, 77}));
  EXPECT_EQ(decode_image(bytes_of(encoded(alpha, ".png")), "x").at<cv::Vec3b>(2, 2), (cv::Vec3b{1, 2, 3}));
  EXPECT_EQ(decode_image(bytes_of(encoded(deep, ".png")), "x").at<cv::Vec3b>(2, 2), (cv::Vec3b{9, 9, 9}));
  EXPECT_FALSE(decode_image(bytes_of(encoded(gray, ".pgm")), "x").empty());
}

TEST_F(Images, EveryKindOfJpegGivesWhatImdecodeGives) {
  unsigned seed = 1;
  for (const int size : {1, 7, 16, 61})
    for (const int quality : {30, 95, 100})
      for (const bool progressive : {false, true})
        for (const bool gray : {false, true}) {
          cv::Mat image = picture(size, size + 5, ++seed);
          if (gray) cv::cvtColor(image, image, cv::COLOR_BGR2GRAY);
          std::vector<uint8_t> bytes;
          cv::imencode(".jpg", image, bytes,
                       {cv::IMWRITE_JPEG_QUALITY, quality, cv::IMWRITE_JPEG_PROGRESSIVE, progressive,
                        cv::IMWRITE_JPEG_OPTIMIZE, 1});
          const cv::Mat plain = decode_plain_jpeg(std::as_bytes(std::span(bytes)));
          ASSERT_FALSE(plain.empty());
          EXPECT_EQ(cv::norm(plain, cv::imdecode(bytes, cv::IMREAD_COLOR), cv::NORM_INF), 0);
        }
}

TEST_F(Images, JpegOfTooManyScansIsRefused) {
  const std::string jpeg = encoded(picture(8, 8), ".jpg");
  const std::string scan = jpeg.substr(jpeg.find("\xff\xda"), jpeg.size() - jpeg.find("\xff\xda") - 2);
  std::string many = jpeg.substr(0, jpeg.find("\xff\xda"));
  for (int i = 0; i < 501; ++i) many += scan;
  many += "\xff\xd9";
  EXPECT_EQ(error_of([&] { decode_image(std::as_bytes(std::span(many)), "x"); }),
            "cannot decode 'x': a JPEG of more than 500 scans");
}

TEST_F(Images, ExifOrientation) {
  const std::string jpeg = encoded(picture(40, 20), ".jpg");
  const std::string tiff("II*\0\x8\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0",
                         26);  // one entry: orientation 6
  const std::string exif = std::string("Exif\0\0", 6) + tiff;
  const std::string turned = jpeg.substr(0, 2) + std::string("\xff\xe1\0", 3) +
                             static_cast<char>(exif.size() + 2) + exif + jpeg.substr(2);
  const cv::Mat image = decode_image(bytes_of(turned), "x");
  EXPECT_EQ(image.cols, 20);
  EXPECT_EQ(image.rows, 40);
}

TEST_F(Images, TruncatedFilesAreRefused) {
  const std::map<std::string, std::string> reasons{{".jpg", "truncated (no end marker)"},
                                                   {".png", "truncated (no IEND)"},
                                                   {".bmp", "truncated (rows missing)"},
                                                   {".ppm", "truncated (rows missing)"},
                                                   {".webp", "truncated"},
                                                   {".tif", "truncated"}};
  for (const auto& [extension, reason] : reasons) {
    const std::string content = encoded(picture(64, 64), extension);
    for (size_t cut = 1; cut < content.size(); cut += content.size() / 50 + 1)
      EXPECT_TRUE(contains(refuse(content.substr(0, cut)), "cannot decode 'x'")) << extension << " " << cut;
    EXPECT_TRUE(contains(refuse(content.substr(0, content.size() - content.size() / 3)), reason))
        << extension << ": " << refuse(content.substr(0, content.size() - content.size() / 3));
  }
  const std::string jpeg = encoded(picture(64, 64), ".jpg");
  EXPECT_EQ(refuse(jpeg.substr(0, jpeg.size() - 2)), "cannot decode 'x': truncated (no end marker)");
  EXPECT_EQ(refuse(jpeg + "trailing bytes"), "no error");
}

TEST_F(Images, NoImages) {
  EXPECT_TRUE(contains(refuse(""), "empty"));
  EXPECT_TRUE(contains(refuse("hello, I am a text"), "not an image"));
  EXPECT_TRUE(contains(refuse("P6 100000 100000 255\n"), "limit"));
  EXPECT_TRUE(contains(refuse("P6 99999999999999999999 1 255\n"), "damaged"));
  EXPECT_TRUE(contains(refuse("P6 0 1 255\n"), "0x1"));
  std::string png = encoded(picture(8, 8), ".png");
  png[18] = 0x7f;  // the width, and so the checksum
  EXPECT_TRUE(contains(refuse(png), "checksum"));
  std::string jpeg = encoded(picture(8, 8), ".jpg");
  const size_t frame = jpeg.find("\xff\xc0");
  jpeg.replace(frame + 5, 4, "\xff\xff\xff\xff");
  EXPECT_TRUE(contains(refuse(jpeg), "limit"));
}

TEST_F(Images, DamageGivesErrorsOnly) {
  for (const char* extension : {".png", ".bmp", ".webp", ".ppm", ".tif"}) {
    const std::string content = encoded(picture(9, 7), extension);
    for (size_t i = 0; i < content.size(); i += content.size() / 200 + 1) {
      std::string damaged = content;
      damaged[i] = static_cast<char>(~damaged[i]);
      try {
        check_image(bytes_of(damaged), "x");
      } catch (const Error&) {
      }
    }
  }
}

TEST(ImageNames, Extensions) {
  for (const char* name : {"a.jpg", "b.JPEG", "c.Png", "d.tiff", "e.webp", "x.y.bmp"})
    EXPECT_TRUE(has_image_extension(name));
  for (const char* name : {"a", "jpg", "a.txt", "a.jpg.txt", ""}) EXPECT_FALSE(has_image_extension(name));
}

}  // namespace
}  // namespace octet
