// The command `octet`. Exit status: 0 when it worked, 1 when it did not, 2 for a wrong command line.
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <new>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "command.h"
#include "common.h"

namespace octet::tools {
namespace {

constexpr int kFailed = 1, kUsage = 2;

constexpr char kExample[] =
    "Example:\n"
    "  octet quantize demo/model.onnx --data demo/images/calib \\\n"
    "      --preprocess \"short=64 crop=64 rgb mean=127.5 std=127.5\" -o model.int8.onnx\n"
    "  octet build model.int8.onnx -o model.octet\n"
    "  octet eval model.octet --data demo/images/val --labels demo/images/val/labels.txt\n"
    "\n"
    "octet COMMAND --help says more about each.";

std::string one_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

void complain(const std::string& who, const std::string& what) {
  fmt::print(stderr, "{}: error: {}\n", who, what);
}

// Help and version go to standard output, everything else is a wrong command line.
int parse_failed(const CLI::App& app, const std::string& who, const CLI::ParseError& error) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
    app.exit(error);
    std::cout.flush();
    flush_output();
    return 0;
  }
  complain(who, fmt::format("{} (see {} --help)", one_line(error.what()), who));
  return kUsage;
}

std::string chosen(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  return commands.empty() ? "octet" : "octet " + commands.front()->get_name();
}

int run(int count, char** words) {
  CLI::App app("Quantizes ONNX networks to INT8, shows what that cost, and runs them.", "octet");
  app.set_version_flag("--version", "octet " OCTET_VERSION, "print the version");
  app.set_help_flag("-h,--help", "print this help");
  app.require_subcommand(1);
  app.footer(kExample);
  const std::vector<Command> commands{add_quantize(app), add_calibrate(app), add_build(app),
                                      add_run(app),      add_eval(app),      add_compare(app),
                                      add_bench(app),    add_inspect(app),   add_strip(app),
                                      add_lint(app),     add_trtexec(app),   add_polygraphy(app)};
  const bool linked = count > 0 && std::filesystem::path(words[0]).filename() == "trtexec";
  const bool trtexec = linked || (count > 1 && std::string_view(words[1]) == "trtexec");
  const auto who = [&] { return linked ? std::string("trtexec") : trtexec ? "octet trtexec" : chosen(app); };
  try {
    if (trtexec) {
      run_trtexec({words + (linked ? 1 : 2), words + count});
      flush_output();
      return 0;
    }
    try {
      app.parse(count, words);
    } catch (const CLI::ParseError& error) {
      return parse_failed(app, chosen(app), error);
    }
    for (const Command& command : commands)
      if (command.app->parsed()) command.run();
    flush_output();
    return 0;
  } catch (const UsageError& error) {
    complain(who(), fmt::format("{} (see {} --help)", one_line(error.message()), who()));
    return kUsage;
  } catch (const Error& error) {
    // What an import does not support is a list, one node a line.
    complain(who(), error.code() == ErrorCode::kUnsupported ? error.message() : one_line(error.message()));
  } catch (const std::bad_alloc&) {
    complain(who(), "out of memory: try fewer --threads, or a smaller --limit");
  } catch (const std::exception& error) {
    complain(who(), fmt::format("internal error: {}", one_line(error.what())));
  }
  return kFailed;
}

}  // namespace
}  // namespace octet::tools

int main(int count, char** words) {
  // Data sets free and allocate some megabytes for each image: give them the same pages again.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  // A closed pipe and a file that outgrows its limit shall be errors like a full disk.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    return octet::tools::run(count, words);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "octet: error: %s\n", error.what());
    return 1;
  }
}
