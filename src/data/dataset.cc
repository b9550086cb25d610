#include "data/dataset.h"

#include <xxhash.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "base/file.h"
#include "data/array_data.h"
#include "data/image.h"
#include "data/sample_hashes.h"
#include "tensor/npy.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

enum class Kind { kOther, kImage, kNpy, kNpz };

Kind kind_of(const fs::path& path) {
  const std::string name = path.filename().string();
  if (has_image_extension(name)) return Kind::kImage;
  if (path.extension() == ".npy") return Kind::kNpy;
  return path.extension() == ".npz" ? Kind::kNpz : Kind::kOther;
}

struct File {
  fs::path path;
  std::string name;
  Kind kind;
};

// One sample a file.
class FileData final : public Dataset {
 public:
  FileData(std::vector<File> files, std::optional<Preprocess> preprocess, const DataOptions& options)
      : files_(std::move(files)),
        preprocess_(std::move(preprocess)),
        bytes_(options.bytes),
        skip_bad_(options.skip_bad),
        hashes_(files_.size()) {}

  int64_t size() const override { return static_cast<int64_t>(files_.size()); }
  const std::string& name(int64_t i) const override { return file(i).name; }
  bool images() const override { return preprocess_.has_value(); }

  Sample load(int64_t i) const override {
    const File& f = file(i);
    try {
      const std::string content = read(i);
      return {decode(f, std::as_bytes(std::span(content.data(), content.size()))), false, {}};
    } catch (const Error& error) {
      if (!skip_bad_ || error.code() == ErrorCode::kInternal) throw;
      return {{}, true, error.message()};
    }
  }

  uint64_t content_hash() const override {
    return hashes_.combine([this](size_t i) -> const std::string& { return files_[i].name; },
                           [this](size_t i) { hash(i); });
  }
  uint64_t sample_hash(int64_t i) const override {
    file(i);
    return hashes_.get(static_cast<size_t>(i), [this](size_t k) { hash(k); });
  }

 private:
  void hash(size_t i) const {
    try {
      read(static_cast<int64_t>(i));
    } catch (const Error&) {
      if (!skip_bad_) throw;
      hashes_.set(i, 0);
    }
  }

  const File& file(int64_t i) const {
    if (i < 0 || i >= size()) fail(ErrorCode::kInternal, "sample {} of {}", i, size());
    return files_[static_cast<size_t>(i)];
  }

  std::string read(int64_t i) const {
    const File& f = file(i);
    std::string content = read_text(f.path, f.kind == Kind::kImage ? kMaxImageBytes : kMaxArrayBytes);
    hashes_.set(static_cast<size_t>(i), XXH3_64bits(content.data(), content.size()));
    return content;
  }

  std::map<std::string, Tensor> decode(const File& f, std::span<const std::byte> content) const {
    if (f.kind == Kind::kNpy) return {{"", parse_npy(content, f.path.string())}};
    if (f.kind == Kind::kNpz) return named_arrays(parse_npz(content, f.path.string()), f.path.string());
    const cv::Mat image = decode_image(content, f.path.string());
    try {
      return {{"", bytes_ ? preprocess_->apply_bytes(image) : preprocess_->apply(image)}};
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("'{}': {}", f.path.string(), error.message()));
    }
  }

  static constexpr int64_t kMaxArrayBytes = int64_t{4} << 30;

  std::vector<File> files_;
  std::optional<Preprocess> preprocess_;
  bool bytes_, skip_bad_;
  mutable SampleHashes hashes_;
};

// Whether `path`, a symbolic link, leads to a regular file inside `root`.
bool stays_inside(const fs::path& path, const fs::path& root) {
  std::error_code error;
  const fs::path target = fs::canonical(path, error);
  if (error || !fs::is_regular_file(target, error)) return false;
  return std::mismatch(root.begin(), root.end(), target.begin(), target.end()).first == root.end();
}

std::vector<File> folder_files(const fs::path& folder) {
  std::error_code error;
  const fs::path root = fs::canonical(folder, error);
  if (error) fail(ErrorCode::kIo, "cannot open '{}': {}", folder.string(), error.message());
  std::vector<File> files;
  int64_t skipped_links = 0;
  fs::recursive_directory_iterator it(folder, error), end;
  for (; !error && it != end; it.increment(error)) {
    const fs::path& path = it->path();
    std::error_code ignored;
    if (path.filename().string().starts_with('.')) {
      if (it->is_directory(ignored)) it.disable_recursion_pending();
      continue;
    }
    const Kind kind = kind_of(path);
    if (kind == Kind::kOther || !it->is_regular_file(ignored)) continue;
    if (it->is_symlink(ignored) && !stays_inside(path, root)) {
      ++skipped_links;
      continue;
    }
    files.push_back({path, path.lexically_relative(folder).generic_string(), kind});
  }
  if (error) fail(ErrorCode::kIo, "cannot read the folder '{}': {}", folder.string(), error.message());
  if (files.empty())
    fail(ErrorCode::kNotFound, "'{}' holds no images and no .npy or .npz files{}", folder.string(),
         skipped_links > 0
             ? fmt::format(" ({} symbolic links lead out of it and were skipped)", skipped_links)
             : "");
  std::sort(files.begin(), files.end(),
            [](const File& a, const File& b) { return fs::path(a.name) < fs::path(b.name); });
  return files;
}

std::vector<File> listed_files(const fs::path& list) {
  const std::string text = read_text(list);
  std::vector<File> files;
  int64_t line_number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    at = end + 1;
    ++line_number;
    line.erase(line.find_last_not_of(" \t\r") + 1);
    if (line.empty()) continue;
    const fs::path path = list.parent_path() / line;
    const Kind kind = kind_of(path);
    std::error_code error;
    if (!fs::exists(path, error))
      fail(ErrorCode::kNotFound, "{}:{}: no such file '{}'", list.string(), line_number, line);
    if (kind == Kind::kOther)
      fail(ErrorCode::kInvalidArgument, "{}:{}: '{}' is neither an image nor a .npy or .npz file",
           list.string(), line_number, line);
    files.push_back({path, fs::path(line).lexically_normal().generic_string(), kind});
  }
  if (files.empty()) fail(ErrorCode::kNotFound, "the list '{}' is empty", list.string());
  return files;
}

}  // namespace

uint64_t Dataset::sample_hash(int64_t) const {
  return 0;
}

std::unique_ptr<Dataset> open_data(const fs::path& path, const DataOptions& options) {
  quiet_opencv();
  if (options.limit < 0)
    fail(ErrorCode::kInvalidArgument, "limit of {} samples; expected at least 1", options.limit);
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status))
    fail(ErrorCode::kNotFound, "cannot open '{}': no such file or folder", path.string());
  std::vector<File> files;
  if (fs::is_directory(status))
    files = folder_files(path);
  else if (path.extension() == ".npy" || path.extension() == ".npz")
    return open_arrays(path, options.limit);
  else if (path.extension() == ".txt")
    files = listed_files(path);
  else if (kind_of(path) == Kind::kImage)
    files.push_back({path, path.filename().string(), Kind::kImage});
  else
    fail(ErrorCode::kInvalidArgument,
         "'{}' is no data: expected a folder, an image, a .txt list, .npy or .npz", path.string());

  const auto is_image = [](const File& f) { return f.kind == Kind::kImage; };
  const bool images = is_image(files[0]);
  if (std::any_of(files.begin(), files.end(), [&](const File& f) { return is_image(f) != images; }))
    fail(ErrorCode::kInvalidArgument, "'{}' holds images as well as arrays; expected one kind",
         path.string());
  if (images && !options.preprocess)
    fail(ErrorCode::kInvalidArgument,
         "'{}' holds images; say how one becomes a tensor, for instance with --preprocess \"short=256 "
         "crop=224 rgb "
         "mean=127.5 std=127.5\"",
         path.string());
  if (options.limit > 0 && static_cast<int64_t>(files.size()) > options.limit)
    files.resize(static_cast<size_t>(options.limit));
  std::optional<Preprocess> preprocess;
  if (images) preprocess = Preprocess::parse(*options.preprocess);
  return std::make_unique<FileData>(std::move(files), std::move(preprocess), options);
}

}  // namespace octet
