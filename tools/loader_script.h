// Data from a Python script, as Polygraphy's data loader scripts give them: a function that yields dicts of
// arrays by input name.
#pragma once

#include <memory>
#include <string>

#include "graph/graph.h"
#include "pipeline/sample_store.h"

namespace octet::tools {

// Runs "file.py" (its function load_data) or "file.py:function" in python3 (or what the environment variable
// OCTET_PYTHON names) and takes what it yields, at most `limit` samples where that is above 0. The script
// needs numpy. What it prints goes to standard error. Throws Error when the script fails, or yields what does
// not fit the graph's inputs, nothing, or more than a SampleStore takes.
std::shared_ptr<SampleStore> run_loader_script(const std::string& script, const Graph& graph, int64_t limit);

}  // namespace octet::tools
