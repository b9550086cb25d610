// The subcommands of `octet`: each file here adds one.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace octet::tools {

// `run` throws octet::Error; it is called once, after parsing, when the user chose `app`.
struct Command {
  CLI::App* app;
  std::function<void()> run;
};

Command add_quantize(CLI::App& root);
Command add_calibrate(CLI::App& root);
Command add_build(CLI::App& root);
Command add_run(CLI::App& root);
Command add_eval(CLI::App& root);
Command add_compare(CLI::App& root);
Command add_bench(CLI::App& root);
Command add_inspect(CLI::App& root);
Command add_strip(CLI::App& root);
Command add_lint(CLI::App& root);
Command add_trtexec(CLI::App& root);
Command add_polygraphy(CLI::App& root);

// The words behind `octet trtexec`, or behind a link of the name trtexec.
void run_trtexec(const std::vector<std::string>& words);

}  // namespace octet::tools
