#include "baton/engine/model_executor.hpp"

#include <algorithm>
#include <cmath>
#include <new>
#include <utility>

#include "baton/model/sampler.hpp"
#include "baton/schedule/stop_rules.hpp"
#include "engine/device_sampling.hpp"
#include "engine/step_masks.hpp"

namespace baton {
namespace {

class ModelExecutor final : public Executor {
 public:
  ModelExecutor(Model& model, Ops& ops, KvView kv, const Clock& clock)
      : model_(model), ops_(ops), kv_(kv), masks_(clock) {}

  void submit(const StepPlan& plan) override { plan_ = &plan; }

  // Ops cannot report exhausted memory or a failed device but by throwing; here it becomes the error of this
  // step's requests.
  StepResult wait() override {
    try {
      return run();
    } catch (const std::bad_alloc&) {
      return failed(make_error(ErrorCode::out_of_memory, "the machine has no memory left for this step"));
    } catch (const DeviceFailure& failure) {
      return failed(make_error(ErrorCode::unavailable, failure.what()));
    }
  }

 private:
  StepResult run() {
    build_batch(*plan_);
    const Tensor logits = model_.forward(batch_, kv_, ops_);
    StepResult result;
    result.rows.resize(plan_->rows.size());
    // After the forward pass was launched: a device computes it meanwhile.
    masks_.write(*plan_, static_cast<std::size_t>(logits.cols), result.rows);
    if (batch_.wants_hidden) read_embeddings(result);
    if (!sample_on_device(logits, result)) sample_on_host(logits, result);
    return result;
  }

  void read_embeddings(StepResult& result) {
    const Tensor hidden = model_.hidden();
    const std::span<const float> values = ops_.to_host(hidden);
    std::size_t row = 0;
    for (std::size_t i = 0; i < plan_->rows.size(); ++i) {
      const auto size = static_cast<std::size_t>(hidden.cols);
      const std::size_t first = std::exchange(row, row + plan_->rows[i].sampled_rows());
      if (!plan_->rows[i].sample || !plan_->rows[i].sequence->request.embed) continue;
      const std::span<const float> of_row = values.subspan(first * size, size);
      if (std::ranges::any_of(of_row, [](float value) { return std::isnan(value); })) {
        result.rows[i].error = make_error(ErrorCode::internal, "the model computed NaN");
        continue;
      }
      result.rows[i].embedding.assign(of_row.begin(), of_row.end());
      result.rows[i].complete = true;
    }
  }

  bool sample_on_device(const Tensor& logits, StepResult& result) {
    if (!ops_.samples()) return false;
    wanted_.clear();
    for (std::size_t i = 0; i < plan_->rows.size(); ++i) {
      const bool gets_none = gets_no_token(result.rows[i]);  // the cheapest there is, for nobody
      for (std::size_t ahead = 0; ahead < plan_->rows[i].sampled_rows(); ++ahead)
        wanted_.push_back(gets_none ? RowSampling{}
                                    : row_sampling(*plan_->rows[i].sequence, masks_.of(i), ahead));
    }
    auto samples = ops_.sample(logits, wanted_);
    if (!samples) return false;
    auto next = samples->begin();
    for (std::size_t i = 0; i < plan_->rows.size(); ++i) {
      for (std::size_t ahead = 0; ahead < plan_->rows[i].sampled_rows(); ++ahead) {
        const RowSample& sample = *next++;
        if (!counts(plan_->rows[i], ahead, result.rows[i])) continue;
        if (sample.nan) {
          take_nan(ahead, result.rows[i]);
          continue;
        }
        SampledToken token{sample.token, sample.logprob, {}};
        for (const auto& [id, logprob] : sample.top) token.top.push_back({id, logprob});
        take(std::move(token), result.rows[i]);
      }
    }
    return true;
  }

  void sample_on_host(const Tensor& logits, StepResult& result) {
    const std::span<const float> values = ops_.to_host(logits);
    std::size_t row = 0;
    for (std::size_t i = 0; i < plan_->rows.size(); ++i) {
      const auto vocab = static_cast<std::size_t>(logits.cols);
      for (std::size_t ahead = 0; ahead < plan_->rows[i].sampled_rows(); ++ahead) {
        const std::span<const float> of_row = values.subspan(row++ * vocab, vocab);
        if (counts(plan_->rows[i], ahead, result.rows[i]))
          sample(plan_->rows[i], ahead, of_row, masks_.of(i), result.rows[i]);
      }
    }
  }

  // By what its mask says: the row is computed and nothing is sampled.
  static bool gets_no_token(const RowResult& row) { return row.error || row.complete || row.deferred; }

  // Whether what is sampled from the row `ahead` tokens behind the newest one counts: its guesses were right.
  static bool counts(const PlannedRows& planned, std::size_t ahead, const RowResult& result) {
    if (gets_no_token(result)) return false;
    if (ahead == 0) return true;
    if (!result.token || result.further.size() + 1 != ahead) return false;
    const SampledToken& last = ahead == 1 ? *result.token : result.further.back();
    return last.token == planned.draft[ahead - 1];
  }

  static void take(SampledToken token, RowResult& result) {
    if (result.token)
      result.further.push_back(std::move(token));
    else
      result.token = std::move(token);
  }

  // Of a guess' row: the next step computes it again, and says so then.
  static void take_nan(std::size_t ahead, RowResult& result) {
    if (ahead == 0) result.error = nan_error();
  }

  // A model that computes only NaN would otherwise stream an arbitrary token for ever.
  static Error nan_error() { return make_error(ErrorCode::internal, "the model computed NaN logits"); }

  // What was launched before the failure may still write to blocks that others get now. A device that is lost
  // has no memory, either, whoever asks.
  StepResult failed(Error error) {
    StepResult result;
    result.device_lost = !model_.settle(ops_);
    if (result.device_lost && error.code == ErrorCode::out_of_memory)
      error = make_error(ErrorCode::unavailable, "the device fails whatever it is asked");
    RowResult row;
    row.error = error;
    result.rows.assign(plan_->rows.size(), row);
    if (error.code == ErrorCode::unavailable) result.device_failure = std::move(error);
    return result;
  }

  // Keeps the memory of the batch before: a step of 64 long sequences has some 20,000 block ids.
  void build_batch(const StepPlan& plan) {
    std::int32_t table_size = 0;
    batch_.tokens.clear();
    batch_.positions.clear();
    batch_.sequences.clear();
    batch_.block_table.clear();
    batch_.logit_rows.clear();
    batch_.wants_hidden = false;
    for (const PlannedRows& planned : plan.rows) {
      const Sequence& sequence = *planned.sequence;
      const auto first_row = static_cast<std::int32_t>(batch_.tokens.size());
      add_sequence(planned, first_row, table_size);
      table_size += static_cast<std::int32_t>(sequence.blocks.size());
      for (std::int32_t i = 0; i < planned.rows; ++i) {
        batch_.tokens.push_back(planned.token(i));
        batch_.positions.push_back(planned.first_position + i);
      }
      for (auto left = static_cast<std::int32_t>(planned.sampled_rows()); left > 0; --left)
        batch_.logit_rows.push_back(first_row + planned.rows - left);
      batch_.wants_hidden = batch_.wants_hidden || (planned.sample && sequence.request.embed);
    }
    add_adapters(plan);
    batch_.kv_groups = kv_.layout.groups.count();
    for (std::int32_t group = 0; group < batch_.kv_groups; ++group)
      for (const PlannedRows& planned : plan.rows) add_table(planned.sequence->blocks, group);
  }

  // A GPU's decode attention takes sequences of one row: a guess is one of its own, with the same blocks, and
  // has the bits of a decode.
  void add_sequence(const PlannedRows& planned, std::int32_t first_row, std::int32_t table) {
    const bool apart = ops_.device().kind == DeviceKind::cuda;
    const std::int32_t guesses = apart ? static_cast<std::int32_t>(planned.draft.size()) : 0;
    const std::int32_t known = planned.rows - guesses;
    batch_.sequences.push_back({first_row, known, planned.first_position, table});
    for (std::int32_t i = known; i < planned.rows; ++i)
      batch_.sequences.push_back({first_row + i, 1, planned.first_position + i, table});
  }

  void add_table(const SequenceBlocks& blocks, std::int32_t group) {
    const std::size_t first = batch_.block_table.size();
    batch_.block_table.resize(first + blocks.size());
    blocks.write_ids(group, std::span(batch_.block_table).subspan(first));
  }

  void add_adapters(const StepPlan& plan) {
    batch_.adapters.clear();
    batch_.logit_adapters.clear();
    const auto has_one = [](const PlannedRows& planned) {
      return planned.sequence->request.adapter != Hash128{};
    };
    if (std::ranges::none_of(plan.rows, has_one)) return;
    for (const PlannedRows& planned : plan.rows) {
      const std::int32_t adapter = adapter_of(planned.sequence->request);
      batch_.adapters.insert(batch_.adapters.end(), static_cast<std::size_t>(planned.rows), adapter);
      batch_.logit_adapters.insert(batch_.logit_adapters.end(), planned.sampled_rows(), adapter);
    }
  }

  // The engine has let through only those that the model has.
  std::int32_t adapter_of(const Request& request) const {
    if (request.adapter == Hash128{}) return -1;
    const std::span<const AdapterInfo> all = model_.adapters();
    const auto found = std::ranges::find(all, request.adapter, &AdapterInfo::fingerprint);
    return static_cast<std::int32_t>(found - all.begin());
  }

  void sample(const PlannedRows& planned, std::size_t ahead, std::span<const float> logits,
              std::span<const std::uint32_t> mask, RowResult& out) {
    if (std::isnan(logits[0]) && std::isnan(logits[logits.size() / 2]) && std::isnan(logits.back())) {
      take_nan(ahead, out);
      return;
    }
    const Request& request = planned.sequence->request;
    std::span<const TokenId> output = request.output;
    if (ahead > 0) {
      output_.assign(output.begin(), output.end());
      output_.insert(output_.end(), planned.draft.begin(),
                     planned.draft.begin() + static_cast<std::ptrdiff_t>(ahead));
      output = output_;
    }
    const std::vector<TokenId> banned = banned_tokens(*planned.sequence, ahead);
    const SampleInput input{logits, request.prompt, output, request.choice, banned, mask};
    take(sampler_.sample(input, request.sampling), out);
  }

  Model& model_;
  Ops& ops_;
  const KvView kv_;
  const StepPlan* plan_ = nullptr;
  Batch batch_;
  StepMasks masks_;
  std::vector<RowSampling> wanted_;
  Sampler sampler_;
  std::vector<TokenId> output_;  // with guesses
};

}  // namespace

std::unique_ptr<Executor> make_model_executor(Model& model, Ops& ops, KvView kv, const Clock& clock) {
  return std::make_unique<ModelExecutor>(model, ops, kv, clock);
}

}  // namespace baton
