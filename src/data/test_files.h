// For the tests of this folder: a temporary folder and generated images.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"

namespace octet {

class TestFolder : public testing::Test {
 protected:
  TestFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "octet-data-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~TestFolder() override { std::filesystem::remove_all(folder_); }

  // A deterministic picture with smooth and sharp parts.
  static cv::Mat picture(int width, int height, unsigned seed = 1) {
    cv::Mat image(height, width, CV_8UC3);
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) {
        seed = seed * 1664525u + 1013904223u;
        image.at<cv::Vec3b>(y, x) = {static_cast<uint8_t>(x * 3 + y), static_cast<uint8_t>(y * 5),
                                     static_cast<uint8_t>((seed >> 24) / 4 + (x / 8 + y / 8) % 2 * 100)};
      }
    return image;
  }

  static std::string encoded(const cv::Mat& image, const std::string& extension) {
    std::vector<uint8_t> bytes;
    cv::imencode(extension, image, bytes);
    return {bytes.begin(), bytes.end()};
  }

  void put(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }

  std::filesystem::path folder_;
};

template <typename F>
std::string error_of(F&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace octet
