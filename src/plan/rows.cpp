#include "baton/plan/rows.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

namespace baton {
namespace {

constexpr std::size_t kMaxRows = 1 << 20;

// One line's cells; a cell in quotes may hold commas and doubled quotes.
std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted && c == '"' && i + 1 < line.size() && line[i + 1] == '"') {
      cells.back() += line[++i];
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      cells.emplace_back();
    } else if (c != '\r') {
      cells.back() += c;
    }
  }
  return cells;
}

class Line {
 public:
  Line(const std::map<std::string, std::size_t>& columns, std::vector<std::string> cells)
      : columns_(columns), cells_(std::move(cells)) {}

  std::string text(const char* column) const {
    const auto found = columns_.find(column);
    return found == columns_.end() || found->second >= cells_.size() ? "" : cells_[found->second];
  }
  double number(const char* column, double fallback, double least = 0) {
    const std::string cell = text(column);
    if (cell.empty()) return fallback;
    double value = 0;
    const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
    const bool good =
        error == std::errc{} && end == cell.data() + cell.size() && value >= least && value <= 1e9;
    if (!good && wrong_.empty()) wrong_ = column;
    return good ? value : fallback;
  }
  void fail(const char* column) {
    if (wrong_.empty()) wrong_ = column;
  }
  const std::string& wrong() const { return wrong_; }

 private:
  const std::map<std::string, std::size_t>& columns_;
  std::vector<std::string> cells_;
  std::string wrong_;
};

// "w4a16_mxfp4", "fp8_block", "int4_wo", ...: by what the name holds.
Precision inferred(const std::string& quantisation) {
  const auto has = [&](const char* part) { return quantisation.find(part) != std::string::npos; };
  if (has("fp4")) return Precision::fp4;
  if (has("fp8")) return Precision::fp8;
  if (has("int4") || has("w4")) return Precision::int4;
  return Precision::bf16;
}

Precision precision_of(Line& line) {
  const std::string named = line.text("precision");
  if (!named.empty()) {
    const auto known = parse_precision(named);
    if (!known) line.fail("precision");
    return known.value_or(Precision::bf16);
  }
  const std::string experts = line.text("moe_quant_mode");
  return inferred(experts.empty() ? line.text("gemm_quant_mode") : experts);
}

SplitColumns columns_of(Line& line, const std::string& before) {
  const auto size = [&](const char* name) { return line.number((before + name).c_str(), 0); };
  return {size("tp_size"), size("pp_size"), size("attention_dp_size"), size("moe_tp_size"),
          size("moe_ep_size")};
}

DeploymentRow row_of(Line& line) {
  DeploymentRow row;
  row.backend = line.text("backend");
  row.version = line.text("backend_version");
  row.model = line.text("model_path");
  row.system = line.text("system");
  row.precision = precision_of(line);
  const std::string mode = line.text("mode");
  if (!mode.empty() && mode != "agg" && mode != "disagg") line.fail("mode");
  row.disaggregated = mode == "disagg";
  row.load = {line.number("isl", -1, 1), line.number("osl", -1, 1), line.number("prefix", 0)};
  if (row.load.input < 1) line.fail("isl");
  if (row.load.output < 1) line.fail("osl");
  row.batch = line.number("batch_size", 1, 1);
  row.split = columns_of(line, "");
  row.prefill = columns_of(line, "prefill_");
  row.decode = columns_of(line, "decode_");
  row.prefill_batch = line.number("prefill_batch_size", 1, 1);
  row.prefill_workers = line.number("prefill_num_workers", 1, 1);
  row.decode_batch = line.number("decode_batch_size", 1, 1);
  row.decode_workers = line.number("decode_num_workers", 1, 1);
  for (const char* column : {"backend", "model_path", "system"})
    if (line.text(column).empty()) line.fail(column);
  return row;
}

}  // namespace

// Attention over `tensor` x `data` GPUs, experts over the same ones: where the columns' products differ, one
// of them repeats a factor of the other.
Split split_of(SplitColumns c, bool experts) {
  for (double* size : {&c.tensor, &c.pipeline, &c.data, &c.expert_tensor, &c.expert_parallel})
    *size = std::max(1.0, std::floor(*size));
  double tensor = c.tensor, data = c.data, cut = c.expert_tensor, apart = c.expert_parallel;
  const bool square = cut == apart && apart > 1;
  if (square && tensor == cut * apart && data == 1) tensor = apart;
  if (square && tensor == 1 && data == cut * apart) data = apart;
  if (square && (tensor == apart || data == apart)) cut = 1;
  if (data == tensor && apart == tensor * data && data > 1) tensor = 1, apart = data;
  if (experts && tensor * data < cut * apart && cut * apart == tensor * data * c.pipeline) cut /= c.pipeline;
  if (experts && tensor * data != cut * apart) cut = 1;
  if (!experts) cut = 1;
  return {static_cast<int>(tensor), static_cast<int>(c.pipeline), static_cast<int>(data),
          static_cast<int>(cut)};
}

Result<std::vector<DeploymentRow>> read_rows(std::istream& in, const std::string& file) {
  std::map<std::string, std::size_t> columns;
  std::vector<DeploymentRow> rows;
  std::string text;
  if (!std::getline(in, text)) return make_error(ErrorCode::invalid_argument, file + ": empty", "--rows");
  for (const std::string& name : cells_of(text)) columns.emplace(name, columns.size());
  for (std::size_t number = 2; std::getline(in, text); ++number) {
    if (text.empty() || text == "\r") continue;
    if (rows.size() >= kMaxRows)
      return make_error(ErrorCode::too_large, file + ": more than 1,048,576 rows", "--rows");
    Line line(columns, cells_of(text));
    rows.push_back(row_of(line));
    if (!line.wrong().empty())
      return make_error(ErrorCode::invalid_argument,
                        file + " line " + std::to_string(number) + ": '" + line.wrong() +
                            "' is missing or out of range: '" + line.text(line.wrong().c_str()) + "'",
                        line.wrong());
  }
  return rows;
}

}  // namespace baton
