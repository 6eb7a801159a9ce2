// The machine that kernels run on: decoded programs, warps of 32 lanes in step, blocks with their shared
// memory, clusters of blocks. What is asynchronous on a GPU (cp.async, the copy engine, wgmma) happens as
// late as a correct kernel allows, so that a missing wait shows.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "ptx.hpp"

namespace baton::emulator {

// What a GPU would report as an illegal address, a trap, a deadlock that nobody would see end, or a race.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

constexpr int kLanes = 32;

// A row of 32 lanes of 4 or 8 bytes, among a warp's registers or its program's constants.
struct Operand {
  std::uint32_t at = 0;
  std::uint8_t width = 0;  // bytes of a lane; 0: absent
  bool constant = false;
  bool inverted = false;
};

enum class Space : std::uint8_t { generic, global, shared, cluster, local, param, constant };

enum class Flow : std::uint8_t {
  plain,     // run, then the next
  converge,  // run once all members of the warp are here
  attempt,   // run; false: this group of lanes tries again later
  branch,
  call,
  leave,  // return of a function, or the end of the thread
};

class Warp;
struct Instruction;
using Run = bool (*)(Warp&, const Instruction&, std::uint32_t lanes);

struct Instruction {
  Run run = nullptr;
  Flow flow = Flow::plain;
  Space space = Space::generic;
  Operand guard;
  Operand to, second;  // a result, and another (the predicate of a shuffle)
  std::array<Operand, 4> from;
  std::vector<Operand> list;  // the elements of vectors and fragments
  std::int64_t offset = 0;    // added to the address in from[0]
  std::int64_t number = 0;    // an immediate that is part of the instruction
  int target = -1;            // of a branch or call: an instruction
  std::string text;
};

enum class Special : std::uint8_t {
  tid_x,
  tid_y,
  tid_z,
  ntid_x,
  ntid_y,
  ntid_z,
  ctaid_x,
  ctaid_y,
  ctaid_z,
  nctaid_x,
  nctaid_y,
  nctaid_z,
  lane,
  warp,
  cluster_rank,
  cluster_size,
  param,
  local,
  zero
};

struct SpecialRow {
  Special what = Special::zero;
  std::uint64_t offset = 0;  // param: of the parameter; local: of the variable
  Operand row;
};

struct Parameter {
  std::size_t offset = 0;
  std::size_t bytes = 0;
};

// A kernel, ready to run.
struct Program {
  std::string name;
  std::vector<Instruction> instructions;
  std::size_t register_bytes = 0;
  std::vector<std::byte> constants;
  std::vector<SpecialRow> specials;
  std::vector<Parameter> parameters;
  std::size_t parameter_bytes = 0;
  std::size_t shared_bytes = 0;  // static ones
  std::size_t local_bytes = 0;   // of a lane
};

// Throws std::runtime_error where the kernel uses an instruction that is not known here.
Program decode(const ptx::Module& module, const ptx::Function& kernel);

struct Dimensions {
  std::uint32_t x = 1, y = 1, z = 1;
  std::uint64_t count() const { return std::uint64_t{x} * y * z; }
};

struct Launch {
  const Program* program = nullptr;
  int device = 0;
  Dimensions grid, block, cluster;
  std::size_t dynamic_shared_bytes = 0;
  bool dependent =
      false;  // may start before the kernel ahead has ended, until it waits (griddepcontrol.wait)
  std::vector<std::byte> parameters;
};

// Runs the kernel to its end. Throws Fault.
void run(const Launch& launch);

// --- What instructions work with
// -------------------------------------------------------------------------------

// A counter for each warp of a cluster: what happened in that warp before something else.
using Clock = std::vector<std::uint32_t>;
void join(Clock& clock, const Clock& other);

struct Block;

struct Cluster {
  const Launch* launch = nullptr;
  std::vector<std::unique_ptr<Block>> blocks;
  std::size_t warps_per_block = 0;
  std::uint32_t arrived = 0;  // threads at the cluster's barrier
  std::uint32_t generation = 0;
  Clock barrier;
  Clock opened;
  std::vector<std::function<void()>> copies;  // started, not done

  void release();  // the barrier, if all have arrived that have not ended
};

struct Barrier {
  std::uint32_t arrived = 0;
  std::uint32_t generation = 0;
  bool any = false;  // of bar.red.or
  bool result = false;
  Clock gathering;
  Clock opened;
};

enum class Access : std::uint8_t { read, write, atomic };

// Who wrote and read four bytes of shared memory last.
struct Shadow {
  bool atomic = false;  // the write was: other atomics do not race with it
  std::int32_t writer = -1;
  std::uint32_t written = 0;
  std::int32_t reader = -1;
  std::uint32_t read = 0;
  std::unique_ptr<Clock> readers;  // where there is more than one
};

constexpr std::uint32_t kSharedStart = 1024;  // what lies below belongs to the system

// What came before the arrivals at an mbarrier: in its phase so far, and in the one that ended last.
struct Phases {
  Clock gathering, opened;
};

struct Block {
  Cluster* cluster = nullptr;
  std::uint32_t rank = 0;
  std::array<std::uint32_t, 3> index{};
  std::uint32_t threads = 0;
  std::uint32_t ended = 0;
  std::vector<std::byte> memory;  // shared, from kSharedStart
  std::byte* shared = nullptr;    // at address 0
  std::size_t shared_end = 0;
  std::array<Barrier, 16> barriers;
  std::vector<Shadow> shadows;
  std::vector<std::pair<std::uint32_t, Phases>> mbarriers;  // by address
  std::vector<std::unique_ptr<Warp>> warps;

  Phases& phases_of(std::uint32_t mbarrier);
  void release(Barrier& barrier, std::uint32_t expected);
  void thread_ended(std::uint32_t count);
};

struct Group {
  int at = 0;
  std::uint32_t lanes = 0;
  std::vector<int> calls;     // where to go on after the functions that it is in
  std::int64_t waiting = -1;  // the generation of the barrier that it has arrived at
};

struct AsyncCopy {
  std::byte* to = nullptr;
  const std::byte* from = nullptr;
  std::uint32_t bytes = 0, zeros = 0;
  std::uint32_t shared = 0;
};

class Warp {
 public:
  Warp(Block& block, std::uint32_t index, const Program& program);
  void start();
  // Runs until nothing here can go on, or for a while; whether anything ran.
  bool advance();
  bool done() const { return groups.empty(); }
  std::string where() const;

  std::byte* row(const Operand& operand) {
    return (operand.constant ? constants_ : registers.data()) + operand.at;
  }
  template <class Slot>
  Slot* slots(const Operand& operand) {
    return reinterpret_cast<Slot*>(row(operand));
  }
  std::uint64_t value(const Operand& operand, int lane) {
    return operand.width == 8 ? slots<std::uint64_t>(operand)[lane] : slots<std::uint32_t>(operand)[lane];
  }
  void set(const Operand& operand, int lane, std::uint64_t bits) {
    if (operand.width == 8) {
      slots<std::uint64_t>(operand)[lane] = bits;
    } else if (operand.width == 4) {
      slots<std::uint32_t>(operand)[lane] = static_cast<std::uint32_t>(bits);
    }
  }

  // Where an access goes; throws Fault for what is out of bounds or not aligned to its size.
  std::byte* pointer(const Instruction& in, std::uint64_t address, std::size_t bytes, int lane, bool write,
                     bool checked = true);
  std::byte* pointer(const Instruction& in, Space space, std::uint64_t address, std::size_t bytes, int lane,
                     bool write, bool checked = true);
  void check_race(Block& owner, std::uint32_t address, std::size_t bytes, Access access, const Clock& clock,
                  const Instruction& in);
  // That what was written there has been seen here, as an mbarrier's beginning must have been.
  void check_seen(std::uint32_t address, const Instruction& in) const;
  [[noreturn]] void fault(const Instruction& in, int lane, const std::string& what) const;

  std::uint32_t alive() const;
  std::uint32_t id() const;  // in the cluster
  // What happened here so far is before what happens at whoever joins the result.
  const Clock& release() {
    released_ = clock;
    ++clock[id()];
    return released_;
  }

  Block& block;
  const std::uint32_t index;
  std::vector<std::byte> registers;
  std::vector<std::byte> local;
  std::vector<Group> groups;
  Group* current = nullptr;
  bool waited = true;  // for the kernel ahead
  std::int64_t cluster_generation = 0;
  std::uint64_t began = 0;         // at this number of instructions, in this block
  std::uint64_t instructions = 0;  // run so far
  Clock clock;
  std::array<std::vector<std::vector<AsyncCopy>>, kLanes> copies;  // of each lane: groups; the last is open
  std::vector<std::vector<std::function<void()>>> products;        // wgmma, likewise

 private:
  std::uint64_t value_of(const SpecialRow& special, int lane) const;
  std::uint32_t guarded(const Instruction& in);
  bool run_group(std::size_t which);
  void tidy();

  const Program& program_;
  std::byte* constants_;
  Clock released_;
};

template <class Do>
inline void each(std::uint32_t lanes, Do&& act) {
  if (lanes == 0xffffffffU) {
    for (int lane = 0; lane < kLanes; ++lane) act(lane);
    return;
  }
  while (lanes != 0) {
    act(std::countr_zero(lanes));
    lanes &= lanes - 1;
  }
}

// --- How instructions are found
// --------------------------------------------------------------------------------

struct Opcode {
  explicit Opcode(const std::string& text);
  const std::string& name() const { return parts[0]; }
  const std::string& type(std::size_t from_end = 0) const { return parts[parts.size() - 1 - from_end]; }
  bool has(std::string_view part) const;
  std::vector<std::string> parts;
};

// How the arguments of an instruction are laid out, and who runs it.
struct Choice {
  Run run = nullptr;
  Flow flow = Flow::plain;
  std::array<std::uint8_t, 4> widths{4, 4, 4, 4};  // of sources, for immediates
  bool has_result = true;                          // the first argument is one
  explicit operator bool() const { return run != nullptr; }
};

Choice choose_arithmetic(const Opcode& opcode);
Choice choose_selection(const Opcode& opcode);
Choice choose_conversion(const Opcode& opcode);
Choice choose_memory(const Opcode& opcode);
Choice choose_exchange(const Opcode& opcode);  // within a warp
Choice choose_meeting(const Opcode& opcode);   // barriers of blocks and clusters, mbarrier
Choice choose_copy(const Opcode& opcode);      // cp.async and the copy engine
Choice choose_matrix(const Opcode& opcode);    // ldmatrix, mma, wgmma

// For instructions whose effect cannot be seen here.
inline bool nothing(Warp& /*warp*/, const Instruction& /*in*/, std::uint32_t /*lanes*/) { return true; }

// The bytes of a lane of registers of a PTX type.
inline std::uint8_t lane_bytes(const std::string& type) { return type.ends_with("64") ? 8 : 4; }

// The bytes of one element of a PTX type such as f32 or b64.
std::size_t type_bytes(const std::string& type);
bool type_signed(const std::string& type);

}  // namespace baton::emulator
