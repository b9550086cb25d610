#include "loader_script.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "common.h"
#include "pipeline/model_state.h"
#include "tensor/npy.h"

extern char** environ;

namespace octet::tools {
namespace {

// What the child runs: OUT gets, for each batch, the number of arrays, and of each the size of its name, the
// name, the size of its .npy file, the file; a number of 0 ends it, 2^32 - 1 goes before the size and text of
// an error. All numbers are little-endian, 4 bytes, sizes of files 8.
constexpr char kChild[] = R"py(
import io, os, struct, sys
out = os.fdopen(int(sys.argv[1]), "wb")
path, function = sys.argv[2], sys.argv[3]
def refuse(text):
    data = text.encode("utf-8", "replace")[:4000]
    out.write(struct.pack("<II", 0xffffffff, len(data)) + data)
    out.flush()
    os._exit(1)
try:
    import numpy
except ImportError as error:
    refuse("%s has no numpy (%s): OCTET_PYTHON names a Python that has it" % (sys.executable, error))
import runpy
sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
sys.argv = [path]
number = 0
try:
    names = runpy.run_path(path)
    if not callable(names.get(function)):
        refuse("it has no function %s()" % function)
    for number, batch in enumerate(names[function](), 1):
        if not hasattr(batch, "items"):
            refuse("batch %d: expected a dict of arrays by input name, not %s" % (number, type(batch).__name__))
        if not batch:
            refuse("batch %d: the dict is empty" % number)
        arrays = []
        for name, array in batch.items():
            array = numpy.asarray(array)
            if array.dtype.kind in "OSUMmc":
                refuse("batch %d: '%s' is no array of numbers" % (number, name))
            arrays.append((str(name), numpy.asarray(array, array.dtype.newbyteorder("="), order="C")))
        out.write(struct.pack("<I", len(arrays)))
        for name, array in arrays:
            file = io.BytesIO()
            numpy.save(file, array, allow_pickle=False)
            name, data = name.encode(), file.getvalue()
            out.write(struct.pack("<I", len(name)) + name + struct.pack("<Q", len(data)) + data)
    out.write(struct.pack("<I", 0))
    out.flush()
except BrokenPipeError:
    os._exit(0)
except SystemExit as error:
    refuse("it called exit(%s)" % (error.code,))
except BaseException as error:
    refuse("%s%s: %s" % ("behind batch %d: " % number if number else "", type(error).__name__, error))
)py";

constexpr uint32_t kRefused = 0xffffffff;
constexpr uint32_t kMostArrays = 4096;
constexpr uint32_t kLongestText = 65536;
constexpr uint64_t kLargestArray = uint64_t{4} << 30;

// The process and our end of its pipe. Ends the process when it goes.
class Child {
 public:
  Child(const std::string& path, const std::string& function) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) failed("open a pipe");
    pipe_ = ends[0];
    const char* chosen = std::getenv("OCTET_PYTHON");
    const std::string python = chosen != nullptr && *chosen != '\0' ? chosen : "python3";
    constexpr int kOut = 3;  // in the child
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    // dup2 of a number onto itself would leave it closed behind exec.
    const int moved = ends[1] == kOut ? fcntl(ends[1], F_DUPFD_CLOEXEC, 10) : ends[1];
    posix_spawn_file_actions_adddup2(&actions, moved, kOut);
    const std::string out = std::to_string(kOut);
    const char* words[] = {python.c_str(),   "-c",   kChild, out.c_str(), path.c_str(),
                           function.c_str(), nullptr};
    const int error =
        posix_spawnp(&process_, python.c_str(), &actions, nullptr, const_cast<char**>(words), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (moved != ends[1]) close(moved);
    close(ends[1]);
    if (error != 0) {
      process_ = -1;
      close(pipe_);
      fail(ErrorCode::kNotFound, "cannot run '{}' for the data loader script: {}: set OCTET_PYTHON", python,
           std::strerror(error));
    }
  }
  ~Child() {
    close(pipe_);
    if (process_ <= 0) return;
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // False at the end of the pipe.
  bool read(void* to, size_t size) {
    for (auto* at = static_cast<char*>(to); size > 0;) {
      const ssize_t got = ::read(pipe_, at, size);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) failed("read the pipe");
      if (got == 0) return false;
      at += got;
      size -= static_cast<size_t>(got);
    }
    return true;
  }

  // How it ended, when it ended by itself.
  std::string ended() {
    int status = 0;
    if (waitpid(std::exchange(process_, -1), &status, 0) < 0) return "it ended";
    if (WIFSIGNALED(status)) return fmt::format("it was ended by signal {}", WTERMSIG(status));
    return fmt::format("it ended with exit status {}", WEXITSTATUS(status));
  }

 private:
  [[noreturn]] static void failed(const char* what) {
    fail(ErrorCode::kIo, "cannot {} for the data loader script: {}", what, std::strerror(errno));
  }

  pid_t process_ = -1;
  int pipe_ = -1;
};

// What the child says, piece by piece.
class Reader {
 public:
  Reader(Child& child, const std::string& script) : child_(child), script_(script) {}

  [[noreturn]] void refuse(const std::string& what) const {
    fail(ErrorCode::kInvalidArgument, "the data loader script '{}': {}", script_, what);
  }
  template <typename T>
  T number() {
    T value = 0;
    take(&value, sizeof value);
    return value;
  }
  std::string text() {
    const auto size = number<uint32_t>();
    if (size > kLongestText) refuse("a name is too long");
    std::string value(size, '\0');
    take(value.data(), size);
    return value;
  }
  std::vector<std::byte> bytes() {
    const auto size = number<uint64_t>();
    if (size > kLargestArray) refuse("an array has more than 4 GB");
    std::vector<std::byte> value(size);
    take(value.data(), size);
    return value;
  }

 private:
  void take(void* to, size_t size) {
    if (!child_.read(to, size)) refuse(child_.ended() + " before its data did");
  }
  Child& child_;
  const std::string& script_;
};

}  // namespace

std::shared_ptr<SampleStore> run_loader_script(const std::string& script, const Graph& graph, int64_t limit) {
  std::string path = script, function = "load_data";
  std::error_code error;
  if (const size_t colon = script.rfind(':');
      colon != std::string::npos && !std::filesystem::is_regular_file(script, error)) {
    path = script.substr(0, colon);
    function = script.substr(colon + 1);
  }
  if (!std::filesystem::is_regular_file(path, error))
    fail(ErrorCode::kNotFound, "cannot open the data loader script '{}': no such file", path);
  const auto store = std::make_shared<SampleStore>(
      describe(graph, graph.inputs()), describe(graph, graph.outputs()),
      fmt::format("the data loader script '{}'", std::filesystem::path(path).filename().string()),
      int64_t{256} << 20);
  Child child(path, function);
  Reader reader(child, path);
  for (;;) {
    const auto count = reader.number<uint32_t>();
    if (count == kRefused) reader.refuse(reader.text());
    if (count == 0) break;
    if (count > kMostArrays) reader.refuse("a batch has too many arrays");
    std::vector<Tensor> tensors;
    std::vector<CalibrationArray> batch;
    for (uint32_t i = 0; i < count; ++i) {
      const std::string name = reader.text();
      tensors.push_back(parse_npy(reader.bytes(), fmt::format("{}: '{}'", path, name)));
      const Tensor& t = tensors.back();
      batch.push_back({name, t.dtype(), t.shape(), t.raw()});
    }
    store->add(batch);
    if (limit > 0 && store->size() >= limit) break;
  }
  store->finish();
  return store;
}

}  // namespace octet::tools
