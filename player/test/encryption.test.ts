import { describe, expect, it } from "vitest";
import { needsKeySystem } from "../src/encryption";
import { messageFor } from "../src/words";

describe("encrypted streams", () => {
  const samples = { levelkeys: { identity: { method: "SAMPLE-AES" } } };
  const whole = { levelkeys: { identity: { method: "AES-128" } } };

  it("are those whose newest samples are encrypted", () => {
    expect(needsKeySystem([samples])).toBe(true);
    expect(
      needsKeySystem([whole, { levelkeys: { "org.w3.clearkey": { method: "SAMPLE-AES-CTR" } } }]),
    ).toBe(true);
    for (const played of [[], [{}], [whole], [samples, {}], [samples, { levelkeys: undefined }]]) {
      expect(needsKeySystem(played)).toBe(false);
    }
  });

  it("are said to be so", () => {
    expect(messageFor({ is: "encrypted" }, "show", "")?.title).toBe("This stream is encrypted");
  });
});
