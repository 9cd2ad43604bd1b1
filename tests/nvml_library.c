/* A stand-in for libnvidia-ml.so.1: eight GPUs of which every changing value changes each second.
 *
 * Built by nvml_library.py, so that our program and its peers read the same GPUs through the same shared library, by
 * the same Python module. Names, structures and units are those of nvml.h; what is not here "is not found", which
 * every caller has to bear anyway. With FAKE_NVML_NOW in the environment it is that second for ever, so that two
 * programs that read it one after the other are told the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef unsigned int uint;
typedef unsigned long long ull;
typedef int nvmlReturn_t;
typedef void *nvmlDevice_t;

#define COUNT 8
#define GIB (1024ull * 1024 * 1024)
#define OK 0
#define INVALID 2
#define NOT_SUPPORTED 3
#define SMALL 7

typedef struct { ull total, free, used; } Memory;
typedef struct { uint version; ull total, reserved, free, used; } MemoryV2;
typedef struct { uint gpu, memory; } Utilization;
typedef struct { uint pid; ull used; uint gpu_instance, compute_instance; } Process;
typedef struct { char legacy[16]; uint domain, bus, device, id, subsystem; char bus_id[32]; } Pci;

static int number(nvmlDevice_t device) { return (int)((size_t)device) - 1; }

typedef struct { uint pid; ull at; uint sm, memory, encoder, decoder; } Sample;
typedef struct { uint field, scope; long long at, latency; int type, code; union { uint small; ull large; } value; } Field;

static ull now(void) {
    const char *fixed = getenv("FAKE_NVML_NOW");
    return fixed ? strtoull(fixed, NULL, 10) : (ull)time(NULL);
}

/* A value that moves every second, another way for each GPU and quantity. */
static uint wave(nvmlDevice_t device, uint which, uint low, uint high) {
    uint x = (uint)now() * 2654435761u + (uint)number(device) * 40503u + which * 97u;
    x ^= x >> 13; x *= 0x5bd1e995u; x ^= x >> 15;
    return low + x % (high - low + 1);
}

nvmlReturn_t nvmlInit_v2(void) { return OK; }
nvmlReturn_t nvmlInitWithFlags(uint flags) { (void)flags; return OK; }
nvmlReturn_t nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(nvmlReturn_t code) {
    return code == OK ? "Success" : code == NOT_SUPPORTED ? "Not Supported" : "Invalid Argument";
}
static nvmlReturn_t text(char *to, uint room, const char *words) {
    if (strlen(words) + 1 > room) return SMALL;
    strcpy(to, words);
    return OK;
}
nvmlReturn_t nvmlSystemGetDriverVersion(char *to, uint room) { return text(to, room, "570.86.10"); }
nvmlReturn_t nvmlSystemGetNVMLVersion(char *to, uint room) { return text(to, room, "12.570.86.10"); }
nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12080; return OK; }
nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) { *version = 12080; return OK; }
nvmlReturn_t nvmlDeviceGetCount_v2(uint *count) { *count = COUNT; return OK; }
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(uint index, nvmlDevice_t *device) {
    if (index >= COUNT) return INVALID;
    *device = (nvmlDevice_t)(size_t)(index + 1);
    return OK;
}
nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, uint *index) { *index = (uint)number(device); return OK; }
nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *to, uint room) {
    (void)device;
    return text(to, room, "NVIDIA H100 80GB HBM3");
}
nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *to, uint room) {
    char words[64];
    snprintf(words, sizeof words, "GPU-5f9e1c2a-0000-4000-8000-00000000000%d", number(device));
    return text(to, room, words);
}
nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    size_t length = strlen(uuid);
    if (!length || uuid[length - 1] < '0' || uuid[length - 1] >= '0' + COUNT) return INVALID;
    *device = (nvmlDevice_t)(size_t)(uuid[length - 1] - '0' + 1);
    return OK;
}
nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, Pci *pci) {
    memset(pci, 0, sizeof *pci);
    pci->bus = (uint)number(device) + 1;
    pci->id = 0x233010de;
    snprintf(pci->legacy, sizeof pci->legacy, "0000:%02X:00.0", pci->bus);
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", pci->bus);
    return OK;
}
static ull used(nvmlDevice_t device) { return 60 * GIB + (ull)wave(device, 1, 0, 4096) * 1024 * 1024; }
nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, Memory *memory) {
    memory->total = 80 * GIB;
    memory->used = used(device);
    memory->free = memory->total - memory->used;
    return OK;
}
nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, MemoryV2 *memory) {
    memory->total = 80 * GIB;
    memory->reserved = GIB / 2;
    memory->used = used(device);
    memory->free = memory->total - memory->used - memory->reserved;
    return OK;
}
nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, Utilization *rates) {
    rates->gpu = wave(device, 2, 60, 99);
    rates->memory = wave(device, 3, 30, 60);
    return OK;
}
nvmlReturn_t nvmlDeviceGetEncoderUtilization(nvmlDevice_t device, uint *percent, uint *period) {
    (void)device; *percent = 0; *period = 100000; return OK;
}
nvmlReturn_t nvmlDeviceGetDecoderUtilization(nvmlDevice_t device, uint *percent, uint *period) {
    (void)device; *percent = 0; *period = 100000; return OK;
}
nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor, uint *celsius) {
    (void)sensor; *celsius = wave(device, 4, 55, 79); return OK;
}
nvmlReturn_t nvmlDeviceGetFanSpeed(nvmlDevice_t device, uint *percent) {
    (void)device; (void)percent; return NOT_SUPPORTED;
}
nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, uint *milliwatts) {
    *milliwatts = wave(device, 5, 300000, 690000); return OK;
}
nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, uint *milliwatts) {
    (void)device; *milliwatts = 700000; return OK;
}
nvmlReturn_t nvmlDeviceGetPowerManagementLimit(nvmlDevice_t device, uint *milliwatts) {
    (void)device; *milliwatts = 700000; return OK;
}
nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, ull *millijoules) {
    *millijoules = now() * 500000ull + (ull)number(device); return OK;
}
nvmlReturn_t nvmlDeviceGetPerformanceState(nvmlDevice_t device, int *state) {
    *state = (int)wave(device, 9, 0, 2); return OK;
}
nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor) {
    (void)device; *major = 9; *minor = 0; return OK;
}
nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t device, int *mode) { (void)device; *mode = 1; return OK; }
nvmlReturn_t nvmlDeviceGetComputeMode(nvmlDevice_t device, int *mode) { (void)device; *mode = 0; return OK; }
nvmlReturn_t nvmlDeviceGetDisplayActive(nvmlDevice_t device, int *mode) { (void)device; *mode = 0; return OK; }
nvmlReturn_t nvmlDeviceGetDisplayMode(nvmlDevice_t device, int *mode) { (void)device; *mode = 0; return OK; }
nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, uint *now, uint *pending) {
    (void)device; *now = *pending = 0; return OK;
}
nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, int kind, uint *mhz) {
    *mhz = kind == 2 ? wave(device, 16, 2200, 2619) : wave(device, 6, 1700, 1980); return OK;
}
nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, int kind, uint *mhz) {
    (void)device; *mhz = kind == 2 ? 2619 : 1980; return OK;
}
nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device, ull *reasons) {
    (void)device; *reasons = 0; return OK;
}
nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device, ull *reasons) {
    (void)device; *reasons = 0; return OK;
}
nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, int kind, int counter, ull *count) {
    if (counter != 0) return NOT_SUPPORTED;
    *count = wave(device, 10 + (uint)kind, 0, 9); return OK;
}
nvmlReturn_t nvmlDeviceGetCurrPcieLinkGeneration(nvmlDevice_t device, uint *generation) {
    *generation = wave(device, 12, 1, 5); return OK;
}
nvmlReturn_t nvmlDeviceGetMaxPcieLinkGeneration(nvmlDevice_t device, uint *generation) {
    (void)device; *generation = 5; return OK;
}
nvmlReturn_t nvmlDeviceGetCurrPcieLinkWidth(nvmlDevice_t device, uint *lanes) {
    *lanes = 1u << wave(device, 13, 0, 4); return OK;
}
/* The memory's heat, and what went over all links since the driver was loaded: so many KiB a second. */
nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, Field *fields) {
    for (int i = 0; i < count; i++) {
        Field *one = &fields[i];
        one->at = (long long)now() * 1000000;
        one->code = OK;
        if (one->field == 82) {
            one->type = 1;
            one->value.small = wave(device, 14, 60, 89);
        } else if ((one->field == 138 || one->field == 139) && one->scope == 0xFFFFFFFFu) {
            one->type = 3;
            one->value.large = now() * (1000ull * (ull)(number(device) + 1) + one->field);
        } else {
            one->code = NOT_SUPPORTED;
        }
    }
    return OK;
}
nvmlReturn_t nvmlDeviceGetPcieThroughput(nvmlDevice_t device, int way, uint *kilobytes) {
    *kilobytes = wave(device, 7 + (uint)way, 1000, 900000); return OK;
}
/* The process that reads is the one that is seen: it surely exists. */
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, uint *count, Process *found) {
    if (*count < 1 || !found) { *count = 1; return SMALL; }
    *count = 1;
    found->pid = (uint)getpid();
    found->used = used(device) - GIB / 2;
    found->gpu_instance = found->compute_instance = 0xFFFFFFFFu;
    return OK;
}
nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t device, uint *count, Process *found) {
    (void)device; (void)found; *count = 0; return OK;
}
nvmlReturn_t nvmlDeviceGetDriverModel(nvmlDevice_t device, int *now, int *pending) {
    (void)device; (void)now; (void)pending; return NOT_SUPPORTED;
}
nvmlReturn_t nvmlDeviceGetDriverModel_v2(nvmlDevice_t device, int *now, int *pending) {
    (void)device; (void)now; (void)pending; return NOT_SUPPORTED;
}
nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device, void *found, uint *count, ull since) {
    Sample *to = found;
    if (!to || *count < 1) { *count = 1; return SMALL; }
    *count = 1;
    memset(to, 0, sizeof *to);
    to->pid = (uint)getpid();
    to->at = since + 500000;
    to->sm = wave(device, 15, 1, 99);
    return OK;
}
