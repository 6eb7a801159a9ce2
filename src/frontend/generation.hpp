// One generation request while it is answered: submits its choices, turns their events into stream frames or
// one body, and cancels what is no longer wanted.
//
// Invariant: each choice gets exactly one end; a stream ends with [DONE], after an error object where
// something failed.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "frontend/output_stream.hpp"
#include "frontend/prepare.hpp"
#include "frontend/running_answer.hpp"

namespace baton::frontend {

class Generation final : public RunningAnswer {
 public:
  Generation(AnswerContext context, PreparedRequest request);
  ~Generation() override;
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  // All choices or none.
  Result<void> submit() override;
  void advance(std::string& out) override;
  void fail(const Error& error, std::string& out) override;
  void cancel() override;

  bool stream() const override { return request_.fields.stream; }
  bool done() const override { return done_; }
  const std::optional<Error>& early_error() const override { return early_error_; }
  std::string unary_body() const override;
  const std::string& id() const override { return head_.id; }
  std::string route() const override;

 private:
  struct Choice;

  std::size_t prompt_of(std::size_t choice) const {
    return choice / static_cast<std::size_t>(request_.fields.n);
  }
  void add_choices();
  Request make_request(const Choice& choice) const;
  void on_token(Choice& choice, const TokenArrival& arrival, std::string& out);
  void on_finish(Choice& choice, const FinishEvent& event, std::string& out);
  void deliver(Choice& choice, OutputPiece piece, std::string& out);
  void show(Choice& choice, ChoiceText part, std::string& out);
  void begin(Choice& choice, std::string& out);
  // `by_itself`: the model ended it, not a stop string or a limit.
  void end(Choice& choice, std::string_view reason, bool by_itself, std::string& out);
  void finish_all(std::string& out);
  void stop_all();
  Usage usage() const;
  std::optional<HandoffInfo> handoff() const;

  AnswerContext context_;
  PreparedRequest request_;
  ResponseHead head_;
  std::vector<RequestId> ids_;  // one per prompt
  std::vector<std::uint64_t> seeds_;
  std::vector<std::unique_ptr<Choice>> choices_;  // prompt-major
  std::size_t open_ = 0;
  bool submitted_ = false;
  bool streamed_ = false;  // a frame has been produced
  bool done_ = false;
  std::optional<Error> early_error_;
  RouteEvent route_;
};

}  // namespace baton::frontend
