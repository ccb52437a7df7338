// Runs packed programs on more threads than there are cores, several runs of one engine at the same time, and compares
// what each gives with what one thread gives, bit for bit. For ThreadSanitizer, which sees every access.
//
//     stress SEEDS... [--rounds N] [--threads N] [--callers N]

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "random_run.h"

namespace {

/// One thread of the operating system for each, which come when they come.
void start_threads(int count, const std::function<void(int)>& work) {
    std::vector<std::thread> threads;
    for (int number = 1; number < count; ++number)
        threads.emplace_back([&work, number] { work(number); });
    work(0);
    for (std::thread& thread : threads)
        thread.join();
}

/// Whether all callers get what one thread gives.
bool round(const optkit::Engine& engine, uint64_t seed, int threads, int callers) {
    constexpr size_t kMostTokens = 300;
    std::vector<std::unique_ptr<fuzz::RandomRun>> expected, found;
    for (int caller = 0; caller < callers; ++caller)
        for (auto* runs : {&expected, &found})
            runs->emplace_back(new fuzz::RandomRun(engine, fuzz::Random(seed + uint64_t(caller)), kMostTokens));
    for (auto& run : expected)
        run->run(1, nullptr);
    start_threads(callers, [&](int caller) { found[size_t(caller)]->run(threads, start_threads); });
    for (size_t caller = 0; caller < found.size(); ++caller)
        if (!found[caller]->all_written() || !found[caller]->same_outputs(*expected[caller]))
            return false;
    return true;
}

}  // namespace

int main(int count, char** arguments) {
    int rounds = 4, threads = 4 * int(std::thread::hardware_concurrency()), callers = 3;
    std::vector<std::string> files;
    for (int i = 1; i < count; ++i) {
        const std::string argument = arguments[i];
        int* option = argument == "--rounds"    ? &rounds
                      : argument == "--threads" ? &threads
                      : argument == "--callers" ? &callers
                                                : nullptr;
        if (option && i + 1 < count)
            *option = std::atoi(arguments[++i]);
        else
            files.push_back(argument);
    }
    if (files.empty())
        return std::fprintf(stderr, "stress: give it files of packed programs\n"), 2;
    int runs = 0;
    for (const std::string& name : files) {
        std::ifstream file(name, std::ios::binary);
        const fuzz::Bytes bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
        for (const optkit::InstructionSet* set : fuzz::supported_sets()) {
            const optkit::Engine engine(bytes.data(), bytes.size(), *set->kernels);
            for (int number = 0; number < rounds; ++number, runs += callers)
                if (!round(engine, uint64_t(number) * 1000, threads, callers))
                    return std::fprintf(stderr, "stress: %s on %s, round %d: threads give other numbers\n",
                                        name.c_str(), set->name, number),
                           1;
        }
    }
    std::printf("%d runs of %d threads, %d at a time\n", runs, threads, callers);
    return 0;
}
