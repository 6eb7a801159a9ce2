#include "engine/active_requests.hpp"

namespace baton {

FinishEvent finish_event(const Sequence& sequence, FinishReason reason, const HandoffInfo& handoff) {
  FinishEvent event;
  event.key = key_of(sequence.request);
  event.generation = sequence.request.generation;
  event.reason = reason;
  event.prompt_tokens = static_cast<std::uint32_t>(sequence.request.prompt.size());
  event.cached_tokens = static_cast<std::uint32_t>(sequence.cached_tokens);
  event.output_tokens = static_cast<std::uint32_t>(sequence.request.output.size());
  event.queue_ms = to_milliseconds(sequence.scheduled - sequence.queued);
  event.prefill_ms = to_milliseconds(sequence.first_token - sequence.scheduled);
  event.decode_ms = to_milliseconds(sequence.finished - sequence.first_token);
  event.handoff = handoff;
  return event;
}

}  // namespace baton
