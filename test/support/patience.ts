/** How long something that is bound to happen is waited for: longer than any machine takes. */
export const patience = { timeout: 60_000 } as const;
