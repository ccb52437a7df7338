// Feeds damaged packed programs to the engine: each is refused with a message, or runs without reading or writing where
// it must not. Built with AddressSanitizer and UndefinedBehaviorSanitizer, which end it at the first fault.
//
//     fuzz SEEDS... [--seconds N] [--iterations N] [--seed N] [--first N]
//
// Each iteration has numbers of its own: the one that a fault names is repeated by --first N --iterations 1.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "format/spec.h"
#include "isa/table.h"
#include "mutation.h"
#include "random_run.h"

namespace {

using optkit::Engine;
using optkit::InstructionSet;

uint64_t current_iteration = 0;

[[noreturn]] void fail(const std::string& what) {
    std::fprintf(stderr, "iteration %llu: %s\n", static_cast<unsigned long long>(current_iteration), what.c_str());
    std::abort();
}

/// Runs the program once, in one thread after the other, the last first: the order must not matter.
void run(const Engine& engine, fuzz::Random random) {
    // Now and then more keys than attention takes at a time.
    const size_t most_tokens = random.chance(4) ? 400 : 70;
    fuzz::RandomRun once(engine, random, most_tokens);
    once.run(1 + int(random.below(3)), [](int count, const std::function<void(int)>& work) {
        while (count-- > 0)
            work(count);
    });
    if (!once.all_written())
        fail("an output was not written");
}

struct Counts {
    uint64_t iterations = 0, accepted = 0, runs = 0;
};

void iterate(const std::vector<fuzz::Bytes>& seeds, const std::vector<const InstructionSet*>& sets, uint64_t seed,
             Counts& counts) {
    fuzz::Random random(seed * 0x100000001B3u + current_iteration);
    const fuzz::Bytes bytes = fuzz::mutate(seeds[random.below(seeds.size())], random);
    ++counts.iterations;
    bool accepted = true;
    for (const InstructionSet* each : sets) {
        std::unique_ptr<Engine> engine;
        {
            // Exactly as long as the program, and gone before it runs: the engine keeps what it needs.
            const std::unique_ptr<uint8_t[]> copy(new uint8_t[bytes.size()]);
            if (!bytes.empty())
                std::memcpy(copy.get(), bytes.data(), bytes.size());
            try {
                engine.reset(new Engine(copy.get(), bytes.size(), *each->kernels));
            } catch (const optkit::FormatError& error) {
                if (!*error.what())
                    fail("refused without a word");
            }
        }
        if (!engine) {
            if (each != sets.front() && accepted)
                fail(std::string(each->name) + " refuses what others accept");
            accepted = false;
            continue;
        }
        if (!accepted)
            fail(std::string(each->name) + " accepts what others refuse");
        size_t total = 0;
        for (uint32_t features : engine->features())
            total += features;
        if (total > 20000)
            continue;
        run(*engine, random);
        ++counts.runs;
    }
    counts.accepted += accepted;
}

}  // namespace

extern "C" {
const char* __asan_default_options() {
    return "detect_leaks=0:handle_abort=1:allocator_may_return_null=1:max_allocation_size_mb=4096";
}
const char* __ubsan_default_options() { return "print_stacktrace=1"; }
#if defined(__SANITIZE_ADDRESS__)
void __sanitizer_set_death_callback(void (*)());
#endif
}

int main(int count, char** arguments) {
    double seconds = std::numeric_limits<double>::infinity();
    uint64_t iterations = std::numeric_limits<uint64_t>::max(), seed = 1, first = 0;
    std::vector<fuzz::Bytes> seeds;
    for (int i = 1; i < count; ++i) {
        const std::string argument = arguments[i];
        if (argument.rfind("--", 0) == 0 && i + 1 < count) {
            const char* value = arguments[++i];
            if (argument == "--seconds")
                seconds = std::atof(value);
            else if (argument == "--iterations")
                iterations = std::strtoull(value, nullptr, 10);
            else if (argument == "--seed")
                seed = std::strtoull(value, nullptr, 10);
            else if (argument == "--first")
                first = std::strtoull(value, nullptr, 10);
            else
                return std::fprintf(stderr, "unknown option %s\n", argument.c_str()), 2;
            continue;
        }
        std::ifstream file(argument, std::ios::binary);
        seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    if (seeds.empty())
        return std::fprintf(stderr, "fuzz: give it files of packed programs to begin with\n"), 2;

    const auto sets = fuzz::supported_sets();
    for (const fuzz::Bytes& bytes : seeds)
        for (const InstructionSet* each : sets)
            run(Engine(bytes.data(), bytes.size(), *each->kernels), fuzz::Random(seed));
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_set_death_callback([] {
        std::fprintf(stderr, "fuzz: it was iteration %llu\n", static_cast<unsigned long long>(current_iteration));
    });
#endif
    Counts counts;
    const auto start = std::chrono::steady_clock::now();
    const auto passed = [&] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    for (current_iteration = first; counts.iterations < iterations; ++current_iteration) {
        if (counts.iterations % 64 == 0 && passed() > seconds)
            break;
        iterate(seeds, sets, seed, counts);
    }
    std::printf("%llu iterations, %llu accepted, %llu runs on", static_cast<unsigned long long>(counts.iterations),
                static_cast<unsigned long long>(counts.accepted), static_cast<unsigned long long>(counts.runs));
    for (const InstructionSet* each : sets)
        std::printf(" %s", each->name);
    std::printf("\n");
    return 0;
}
