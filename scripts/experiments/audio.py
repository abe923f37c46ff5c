"""Features of sounds and vibrations, in NumPy: log-mel frames, MFCC, band spectra."""

import wave

import numpy as np


def read_wav(path):
    """(samples -1 .. 1 of the first channel, rate) of a PCM file. Raises ValueError."""
    try:
        with wave.open(str(path), "rb") as f:
            channels, width, rate, n = f.getparams()[:4]
            data = f.readframes(n)
    except (wave.Error, EOFError) as e:
        raise ValueError(f"not a PCM wav file ({e or 'it ends early'})") from None
    if n == 0 or len(data) < n * channels * width:
        raise ValueError(f"{len(data) // (channels * width)} of {n} samples are there")
    if width == 3:
        bytes_ = np.frombuffer(data, np.uint8).reshape(-1, 3)
        values = (bytes_.astype(np.int32) << (8, 16, 24)).sum(axis=1, dtype=np.int32) / 2.0**31
    elif width == 1:
        values = np.frombuffer(data, np.uint8) / 128.0 - 1
    else:
        values = np.frombuffer(data, f"<i{width}") / 2.0 ** (8 * width - 1)
    return values.reshape(-1, channels)[:, 0].astype(np.float32), rate


def fit_length(x, n, where):
    """x with n samples: zeros around it (`middle`) or behind it (`start`) where it is shorter;
    of a longer one the loudest n samples (`middle`) or the first (`start`)."""
    if len(x) <= n:
        before = (n - len(x)) // 2 if where == "middle" else 0
        return np.pad(x, (before, n - len(x) - before))
    start = 0
    if where == "middle":
        energy = np.concatenate([[0], np.cumsum(x.astype(np.float64) ** 2)])
        start = int(np.argmax(energy[n:] - energy[:-n]))
    return x[start : start + n]


def mel_filters(bands, n_fft, rate, low, high):
    """(bands, n_fft / 2 + 1): triangles, evenly spaced in 2595 log10(1 + f / 700)."""
    mel = np.linspace(*(2595 * np.log10(1 + np.array([low, high]) / 700)), bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    f = np.arange(n_fft // 2 + 1) * rate / n_fft
    up = (f - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - f) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(up, down)).astype(np.float32)


def log_mel(x, rate, window, hop, n_fft, bands, low, high):
    """(frames, bands): ln(power in each mel band + 1e-6) of Hann-windowed frames."""
    frames = np.lib.stride_tricks.sliding_window_view(x, window)[::hop]
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)
    power = np.abs(np.fft.rfft(frames * hann, n_fft)).astype(np.float32) ** 2
    return np.log(power @ mel_filters(bands, n_fft, rate, low, high).T + 1e-6)


def dct(x, coefficients):
    """The first coefficients of the orthonormal DCT-II along the last axis."""
    n = x.shape[-1]
    k = np.arange(coefficients)
    basis = np.cos(np.pi / n * (np.arange(n) + 0.5)[:, None] * k) * np.sqrt(2 / n)
    basis[:, 0] /= np.sqrt(2)
    return (x @ basis).astype(np.float32)


def command_mfcc(x):
    """(49, 10) of one second at 16 kHz: 40 ms frames every 20 ms, 40 bands, 10 coefficients."""
    x = fit_length(x, 16000, "start")
    return dct(log_mel(x, 16000, 640, 320, 1024, 40, 20, 4000), 10)


def digit_log_mel(x):
    """(32, 20) of 0.652 s at 8 kHz: mean removed, peak 1, 32 ms frames every 20 ms."""
    x = x - x.mean()
    x = fit_length(x / max(np.abs(x).max(), 1e-9), 256 + 31 * 160, "middle")
    return log_mel(x, 8000, 256, 160, 256, 20, 80, 3800)


def machine_log_mel(x, rate, frames):
    """(n, frames * 128): `frames` neighbouring log-mel frames of 128 bands side by side."""
    mel = log_mel(x, rate, 1024, 512, 1024, 128, 0, rate / 2)
    if len(mel) < frames:
        raise ValueError(f"{len(x)} samples, too short for {frames} frames")
    return np.concatenate([mel[i : len(mel) - frames + 1 + i] for i in range(frames)], axis=1)


def band_spectra(x, bands=64):
    """(n, bands): ln of the spectrum of each row, averaged over bands, with unit energy."""
    n = x.shape[1]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
    power = np.abs(np.fft.rfft(x * hann))[:, 1:] ** 2
    power = power.reshape(len(x), bands, -1).mean(axis=2)
    return np.log(power / power.sum(axis=1, keepdims=True) + 1e-9).astype(np.float32)
