"""Causes in having a model from the hub: licences, offline use, cut downloads, certificates."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.row import start_failure
from vllm_studio_tui.domain.spec import Failure

FETCH = "Download it where there is a network, or unset HF_HUB_OFFLINE."

HUB: tuple[Failure, ...] = (
    start_failure(
        r"GatedRepoError|access a gated repo|is a gated repo|401 Client Error|403 Client Error",
        "gated",
        "the hub refuses this model: its licence is not accepted, or there is no token",
        "Accept the licence on the model's page and set HF_TOKEN (env_vars HF_TOKEN: env:HF_TOKEN).",
    ),
    start_failure(
        r"HarmonyError: error downloading|failed to download or load vocab file",
        "offline",
        "the vocabulary that gpt-oss needs (o200k_base.tiktoken) is not in the cache and cannot be fetched",
        "Give it a network once, or download that file and set TIKTOKEN_ENCODINGS_BASE in env_vars to its folder.",
        fixes=("online",),
    ),
    start_failure(
        r"OfflineModeIsEnabled|LocalEntryNotFound|cannot find the requested files in the (?:disk|local) cache",
        "offline",
        "the model is not in the cache and the hub may not be asked",
        FETCH,
        fixes=("online",),
    ),
    start_failure(
        r"server is built without SSL support",
        "no_https",
        "this build of llama-server was made without TLS and cannot serve https",
        "Remove ssl_key_file and ssl_cert_file from extra_args, or use a build with LLAMA_OPENSSL.",
    ),
    start_failure(
        r"HTTPS is not supported|built without (?:CURL|HTTPS)|'https' scheme is not supported"
        r"|no (?:SSL|TLS) support",
        "no_https",
        "this build of llama.cpp cannot download: it was made without TLS",
        "Download the GGUF file by other means and name it in model_path, or use a build with LLAMA_OPENSSL.",
    ),
    start_failure(
        r"RevisionNotFoundError|is not a valid git identifier",
        "revision_missing",
        "the model has no such revision on the hub",
        "Correct revision in the recipe, or leave it empty.",
        fixes=({"revision": None},),
    ),
    start_failure(
        r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError|certificate verify failed",
        "untrusted",
        "the certificate of the server from which it downloads is not trusted on this machine",
        "As a rule a proxy of the company stands between: name the file of its certificates in SSL_CERT_FILE and "
        "REQUESTS_CA_BUNDLE (env_vars). Else install ca-certificates, and see whether the clock is right.",
    ),
    start_failure(
        r"Consistency check failed: file should be of size (\d{1,20}) but has size (\d{1,20}) ?\(?([^)\s]{0,200})",
        "hub_cut",
        "the download of {3} was cut off: {2} of {1} bytes are there",
        "Download it again (hf download), and look whether the disk is full: `df -h`.",
        restart=True,
    ),
    start_failure(
        r"CAS service error|cas-server\.xethub|Data processing error: .{0,40}(?:Xet|CAS)\b",
        "hub_storage",
        "a file of the model could not be had from the hub's storage (Xet)",
        "Try again, or download without Xet: HF_HUB_DISABLE_XET=1 in env_vars. A firewall or proxy must let "
        "cas-server.xethub.hf.co through.",
        restart=True,
        fixes=({"env_vars.HF_HUB_DISABLE_XET": "1"},),
    ),
    start_failure(
        r"429 (?:Client Error|Too Many Requests)|Too Many Requests for url",
        "hub_busy",
        "the hub answers too many requests from here (429)",
        "Wait some minutes and set HF_TOKEN (env_vars HF_TOKEN: env:HF_TOKEN): who is known may ask more often.",
        restart=True,
    ),
    start_failure(
        r"Max retries exceeded.{0,300}huggingface|Temporary failure in name resolution"
        r"|Failed to resolve '\S{0,80}huggingface|(?:Connection|Timeout).{0,120}huggingface\.co",
        "offline",
        "the hub cannot be reached",
        FETCH,
        restart=True,
        fixes=("online",),
    ),
    start_failure(
        r"(?:50[0234]|5\d\d) Server Error.{0,120}huggingface",
        "hub_busy",
        "the hub has a fault of its own",
        "Try again later, or name a folder with the model in model_path.",
        restart=True,
    ),
)
