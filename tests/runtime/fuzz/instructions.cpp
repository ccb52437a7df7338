// Runs packed programs on the kernels for AMX, and compares what they give, bit for bit, with the same kernels over
// registers in plain C++, and at float32 with those of avx512bf16, too: the two differ in products of integers alone
// there, which are exact. A CPU without AMX refuses its instructions; a handler of that signal then carries them out,
// as Intel's manual defines them, from their bytes. So what is tried is the machine code.
//
//     instructions SEEDS...        exit code 3: the library has no such kernels, or the CPU has no AVX512-BF16

#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <ucontext.h>
#include <unistd.h>

#include "random_run.h"

namespace optkit::isa::tiles_in_cpp {
extern const Kernels kernels __attribute__((weak));  // null where the compiler does not know AMX
}

namespace {

/// A thread's registers.
struct Tiles {
    bool configured = false;
    uint8_t rows[16] = {};
    uint16_t row_bytes[16] = {};
    uint8_t bytes[8][16][64] = {};
};

thread_local Tiles tiles;

[[noreturn]] void refuse(const char* why) {
    // No more than a signal handler may do.
    if (write(2, why, std::strlen(why)) < 0 || write(2, "\n", 1) < 0)
        _exit(5);
    _exit(4);
}

void require(bool holds, const char* why) {
    if (!holds)
        refuse(why);
}

/// An instruction with a three-byte VEX prefix, read from where it lies.
struct Instruction {
    int prefix, opcode, mod, reg, rm, vvvv;
    uint64_t address = 0, stride = 0;  // of its memory: of the first row, and from one row to the next
    const uint8_t* end;

    Instruction(const uint8_t* at, const greg_t* registers) {
        require(at[0] == 0xC4 && (at[1] & 0x9F) == 0x82 && (at[2] & 0x84) == 0, "not an instruction of AMX");
        const int index_high = at[1] & 0x40 ? 0 : 8, base_high = at[1] & 0x20 ? 0 : 8;
        prefix = at[2] & 3;
        vvvv = ~at[2] >> 3 & 15;
        opcode = at[3];
        mod = at[4] >> 6;
        reg = at[4] >> 3 & 7;
        rm = at[4] & 7;
        end = at + 5;
        if (mod == 3) {
            require(base_high == 0, "a register beyond the eighth");
            return;
        }
        int base = rm;
        if (rm == 4) {
            const int sib = *end++, index = (sib >> 3 & 7) | index_high;
            base = sib & 7;
            if (index != 4)
                stride = uint64_t(registers[register_of(index)]) << (sib >> 6);
            require(base != 5 || mod != 0, "memory without a base");
        }
        const bool behind = base == 5 && mod == 0;  // relative to the instruction's end
        int64_t displacement = 0;
        if (mod == 1)
            displacement = int8_t(*end++);
        if (mod == 2 || behind) {
            int32_t number;
            std::memcpy(&number, end, sizeof number);
            displacement = number;
            end += sizeof number;
        }
        address = uint64_t(displacement) +
                  (behind ? reinterpret_cast<uint64_t>(end) : uint64_t(registers[register_of(base | base_high)]));
    }

    static int register_of(int number) {
        static const int order[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
        return order[number];
    }

    bool is(int wanted_prefix, int wanted_opcode, bool memory) const {
        return prefix == wanted_prefix && opcode == wanted_opcode && (mod != 3) == memory;
    }
};

void require_configured(int number) {
    require(tiles.configured && number < 8 && tiles.rows[number] && tiles.row_bytes[number], "not configured");
}

void configure(const uint8_t* from) {
    require(from[0] == 1, "a palette that is not there");
    for (int i = 1; i < 16; ++i)
        require(from[i] == 0, "a start row, or a reserved byte");
    tiles = Tiles();
    tiles.configured = true;
    for (int i = 0; i < 16; ++i) {
        std::memcpy(&tiles.row_bytes[i], from + 16 + 2 * i, 2);
        tiles.rows[i] = from[48 + i];
        require(tiles.row_bytes[i] <= 64 && tiles.rows[i] <= 16, "a register of more than 16 x 64 bytes");
        require(i < 8 || (tiles.row_bytes[i] == 0 && tiles.rows[i] == 0), "a ninth register");
    }
}

void require_fitting(int sums, int left, int right) {
    for (const int number : {sums, left, right})
        require_configured(number);
    require(sums != left && left != right && right != sums, "the same register twice");
    require(tiles.rows[left] == tiles.rows[sums] && tiles.rows[right] == tiles.row_bytes[left] / 4 &&
                tiles.row_bytes[right] == tiles.row_bytes[sums],
            "shapes that do not fit");
}

void add_products(int sums, int left, int right) {
    require_fitting(sums, left, right);
    const int depth = tiles.row_bytes[left] / 4, columns = tiles.row_bytes[sums] / 4;
    for (int row = 0; row < tiles.rows[sums]; ++row)
        for (int column = 0; column < columns; ++column) {
            int32_t sum;
            std::memcpy(&sum, tiles.bytes[sums][row] + 4 * column, sizeof sum);
            for (int i = 0; i < 4 * depth; ++i)
                sum += int8_t(tiles.bytes[left][row][i]) * tiles.bytes[right][i / 4][4 * column + i % 4];
            std::memcpy(tiles.bytes[sums][row] + 4 * column, &sum, sizeof sum);
        }
}

/// Denormal numbers are taken and given as zeros.
float flushed(float number) { return std::fpclassify(number) == FP_SUBNORMAL ? std::copysign(0.0f, number) : number; }

float bfloat16(const uint8_t* from) {
    const uint8_t bytes[4] = {0, 0, from[0], from[1]};
    float number;
    std::memcpy(&number, bytes, sizeof number);
    return flushed(number);
}

void add_pair_products(int sums, int left, int right) {
    require_fitting(sums, left, right);
    const int depth = tiles.row_bytes[left] / 4, columns = tiles.row_bytes[sums] / 4;
    for (int row = 0; row < tiles.rows[sums]; ++row)
        for (int column = 0; column < columns; ++column) {
            float even = 0, odd = 0, sum;
            for (int pair = 0; pair < depth; ++pair) {
                const uint8_t *one = tiles.bytes[left][row] + 4 * pair, *other = tiles.bytes[right][pair] + 4 * column;
                even = flushed(std::fma(bfloat16(one), bfloat16(other), even));
                odd = flushed(std::fma(bfloat16(one + 2), bfloat16(other + 2), odd));
            }
            std::memcpy(&sum, tiles.bytes[sums][row] + 4 * column, sizeof sum);
            sum = flushed(flushed(sum) + flushed(even + odd));
            std::memcpy(tiles.bytes[sums][row] + 4 * column, &sum, sizeof sum);
        }
}

void carry_out(int, siginfo_t*, void* context) {
    greg_t* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    const Instruction it(reinterpret_cast<const uint8_t*>(registers[REG_RIP]), registers);
    enum Prefix { kNone, k66, kF3, kF2 };
    if (it.is(kNone, 0x49, true) && it.reg == 0) {  // LDTILECFG
        configure(reinterpret_cast<const uint8_t*>(it.address));
    } else if (it.is(kNone, 0x49, false) && it.reg == 0 && it.rm == 0) {  // TILERELEASE
        tiles.configured = false;
    } else if (it.is(kF2, 0x49, false) && it.rm == 0) {  // TILEZERO
        require_configured(it.reg);
        std::memset(tiles.bytes[it.reg], 0, sizeof tiles.bytes[it.reg]);
    } else if (it.is(kF2, 0x4B, true) && it.rm == 4) {  // TILELOADD
        require_configured(it.reg);
        std::memset(tiles.bytes[it.reg], 0, sizeof tiles.bytes[it.reg]);
        for (int row = 0; row < tiles.rows[it.reg]; ++row)
            std::memcpy(tiles.bytes[it.reg][row], reinterpret_cast<const void*>(it.address + it.stride * uint64_t(row)),
                        tiles.row_bytes[it.reg]);
    } else if (it.is(kF3, 0x4B, true) && it.rm == 4) {  // TILESTORED
        require_configured(it.reg);
        for (int row = 0; row < tiles.rows[it.reg]; ++row)
            std::memcpy(reinterpret_cast<void*>(it.address + it.stride * uint64_t(row)), tiles.bytes[it.reg][row],
                        tiles.row_bytes[it.reg]);
    } else if (it.is(kF3, 0x5E, false)) {  // TDPBSUD
        add_products(it.reg, it.rm, it.vvvv);
    } else if (it.is(kF3, 0x5C, false)) {  // TDPBF16PS
        add_pair_products(it.reg, it.rm, it.vvvv);
    } else {
        refuse("another instruction of AMX");
    }
    registers[REG_RIP] = reinterpret_cast<greg_t>(it.end);
}

const optkit::InstructionSet* find(const char* name) {
    for (const optkit::InstructionSet& set : optkit::instruction_sets())
        if (std::strcmp(set.name, name) == 0)
            return &set;
    return nullptr;
}

/// Threads that have to leave their registers as they found them.
void start_threads(int count, const std::function<void(int)>& work) {
    std::vector<std::thread> threads;
    for (int number = 0; number < count; ++number)
        threads.emplace_back([&work, number] {
            work(number);
            require(!tiles.configured, "registers that were not released");
        });
    for (std::thread& thread : threads)
        thread.join();
}

}  // namespace

int main(int count, char** files) {
    const optkit::InstructionSet *amx = find("amx"), *without = find("avx512bf16");
    if (!amx->kernels || !&optkit::isa::tiles_in_cpp::kernels || !without->supported())
        return std::fprintf(stderr, "instructions: no kernels for AMX here, or no AVX512-BF16\n"), 3;
    const bool emulated = !amx->supported();
    if (emulated) {
        struct sigaction action = {};
        action.sa_sigaction = carry_out;
        action.sa_flags = SA_SIGINFO;
        sigaction(SIGILL, &action, nullptr);
    }
    int32_t sink = 0;
    require(amx->kernels->peak(1, &sink) == 4 * 16 * 16 * 64, "another peak");
    int runs = 0;
    for (int i = 1; i < count; ++i) {
        std::ifstream file(files[i], std::ios::binary);
        const fuzz::Bytes bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
        const optkit::Engine tried(bytes.data(), bytes.size(), *amx->kernels);
        const optkit::Engine same(bytes.data(), bytes.size(), optkit::isa::tiles_in_cpp::kernels);
        const optkit::Engine known(bytes.data(), bytes.size(), *without->kernels);
        for (uint64_t seed = 0; seed < 8; ++seed, ++runs) {
            fuzz::RandomRun found(tried, fuzz::Random(seed), 100);
            found.run(1 + int(seed % 3), start_threads);
            require(!tiles.configured, "registers that were not released");
            for (const optkit::Engine* engine : {&same, &known}) {
                fuzz::RandomRun expected(*engine, fuzz::Random(seed), 100);
                if (engine == &known && expected.allows_bf16())
                    continue;
                expected.run(1, nullptr);
                if (!found.all_written() || !found.same_outputs(expected))
                    return std::fprintf(stderr, "instructions: %s, seed %d: other numbers\n", files[i], int(seed)), 1;
            }
        }
    }
    std::printf("%d runs with %s instructions\n", runs, emulated ? "emulated" : "the CPU's");
    return 0;
}
