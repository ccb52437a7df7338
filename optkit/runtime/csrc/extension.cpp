// What the library shows to OpenVINO (its operations) and to Python (a few C functions that need no Core).

#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include <openvino/core/extension.hpp>
#include <openvino/core/op_extension.hpp>

#include "engine/engine.h"
#include "engine/profile.h"
#include "engine/schedule.h"
#include "format/spec.h"
#include "isa/table.h"
#include "plan/plan.h"
#include "program.h"

OPENVINO_CREATE_EXTENSIONS(std::vector<ov::Extension::Ptr>({std::make_shared<ov::OpExtension<optkit::Program>>()}));

#define OPTKIT_API extern "C" __attribute__((visibility("default")))

namespace {

thread_local std::string answer;

std::string json(const optkit::Rates& rates) {
    if (!rates.known())
        return "null";
    std::string block4;
    char text[256];
    for (int height = 0; height < optkit::kBlockHeights; ++height) {
        std::snprintf(text, sizeof text, "%s\"%d\": %.17g", height ? ", " : "", 1 << height, rates.block4[height]);
        block4 += text;
    }
    std::snprintf(text, sizeof text,
                  ", \"element\": %.17g, \"single\": %.17g, \"openvino_int8\": %.17g, \"openvino_fp32\": %.17g, "
                  "\"tall\": %.17g}",
                  rates.element, rates.single, rates.openvino_int8, rates.openvino_fp32, rates.tall);
    return "{\"block4\": {" + block4 + "}" + text;
}

/// {"height of a block4 kernel": entries that it takes at once, ...}
std::string json_together(const optkit::Kernels& kernels) {
    std::string text;
    for (uint32_t i = 0; i < kernels.linear_count; ++i) {
        const optkit::LinearKernel& kernel = kernels.linear[i];
        if (kernel.form == optkit::Form::block4)
            text += (text.empty() ? "\"" : ", \"") + std::to_string(kernel.height) +
                    "\": " + std::to_string(kernel.together);
    }
    return "{" + text + "}";
}

std::string json(const optkit::InstructionSet& set) {
    std::string features;
    for (const optkit::CpuFeature& feature : set.features)
        features += (features.empty() ? "\"" : ", \"") + std::string(feature.name) + '"';
    const auto boolean = [](bool holds) {
        return holds ? "true" : "false";
    };
    std::string text = "{\"name\": \"" + std::string(set.name) + "\", \"features\": [" + features + "]";
    text += ", \"vector_bits\": " + std::to_string(set.kernels ? set.kernels->vector_bits : 0);
    text += std::string(", \"compiled\": ") + boolean(set.kernels);
    text += std::string(", \"supported\": ") + boolean(set.supported());
    text += std::string(", \"for_tests\": ") + boolean(set.kernels && set.kernels->for_tests);
    text += ", \"together\": " + (set.kernels ? json_together(*set.kernels) : "{}");
    return text + ", \"rates\": " + json(set.rates) + ", \"rates_with_amx\": " + json(set.rates_with_amx) + "}";
}

}  // namespace

/// The OpenVINO that this library was built for, which is the only one it loads into.
OPTKIT_API const char* optkit_openvino_version() { return OPTKIT_OPENVINO_VERSION; }

/// The table of instruction sets, slowest first, as a JSON array of its rows.
OPTKIT_API const char* optkit_instruction_sets() {
    answer = "[";
    for (const optkit::InstructionSet& set : optkit::instruction_sets())
        answer += (answer.size() > 1 ? ", " : "") + json(set);
    answer += "]";
    return answer.c_str();
}

/// The name of the instruction set in use; empty when OPTKIT_ISA names none that can run here.
OPTKIT_API const char* optkit_isa() {
    try {
        return optkit::selected_instruction_set().name;
    } catch (const std::exception&) {
        return "";
    }
}

/// Null if the bytes are a valid program, else what is wrong.
OPTKIT_API const char* optkit_validate(const uint8_t* bytes, size_t size) {
    try {
        optkit::parse(bytes, size);
        return nullptr;
    } catch (const std::exception& error) {
        answer = error.what();
        return answer.c_str();
    }
}

/// How a program's work on `sequences` sequences of `length` tokens is cut into tasks for `threads` threads, as JSON;
/// or null, and `optkit_validate` says why.
OPTKIT_API const char* optkit_schedule(const uint8_t* bytes, size_t size, size_t sequences, size_t length,
                                       int threads) {
    try {
        const optkit::Plan plan(optkit::parse(bytes, size), *optkit::selected_instruction_set().kernels);
        const optkit::Schedule schedule = optkit::choose_schedule(plan, {sequences, length}, threads);
        std::string tasks;
        for (const optkit::Segment& segment : plan.segments)
            for (size_t phase = 0; phase < (schedule.split ? segment.phases : 1); ++phase)
                tasks += (tasks.empty() ? "" : ", ") + std::to_string(schedule.tasks(plan, segment, phase));
        answer = "{\"split\": " + std::string(schedule.split ? "true" : "false") +
                 ", \"tile_tokens\": " + std::to_string(schedule.tiling.width) +
                 ", \"threads\": " + std::to_string(schedule.threads) +
                 ", \"tiles\": " + std::to_string(schedule.tiling.tiles()) +
                 ", \"tiles_of_a_task\": " + std::to_string(schedule.tiles_of_a_task) + ", \"tasks\": [" + tasks +
                 "], \"microseconds\": " + std::to_string(schedule.nanoseconds / 1000) + "}";
        return answer.c_str();
    } catch (const std::exception&) {
        return nullptr;
    }
}

OPTKIT_API void optkit_profile_enable(int on) { optkit::profile::enabled = on != 0; }

/// Writes the counters since the last call as JSON, and sets them to 0; returns the length needed.
OPTKIT_API size_t optkit_profile_read(char* json, size_t capacity) {
    const std::string text = optkit::profile::read();
    if (capacity > text.size())
        std::memcpy(json, text.c_str(), text.size() + 1);
    return text.size() + 1;
}

/// 8-bit multiply-adds of one thread, in registers, so many of them: for the machine's peak. 0 for an unknown name.
OPTKIT_API uint64_t optkit_peak(const char* isa, uint64_t iterations) {
    for (const optkit::InstructionSet& set : optkit::instruction_sets())
        if (set.supported() && std::strcmp(isa, set.name) == 0) {
            int32_t sink = 0;
            return set.kernels->peak(iterations, &sink);
        }
    return 0;
}
